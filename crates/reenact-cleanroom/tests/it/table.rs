//! Arbitrary bytes survive the way through C: generated, compiled by the host's compiler, run in a cell.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use reenact_cleanroom::ctable::{Answer, End, FileOp, Key, program};
use reenact_cleanroom::tree::SourceTree;
use reenact_model::content::HexBytes;
use reenact_model::{Case, Content, Ended, EntryKind, NoBlobs, Step};
use std::collections::BTreeMap;

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..max),
        // What C and the generator treat as special, close together.
        proptest::collection::vec(
            prop::sample::select(b"\\\"?=/'(%\n\r\t\0\x01\x7f\x80\xff07a".to_vec()),
            0..max
        ),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    (bytes(300), bytes(300), 0..256i32, proptest::option::of(bytes(100))).prop_map(
        |(stdout, stderr, code, file)| {
            let write = |bytes| FileOp::Write { path: b"made file".to_vec(), mode: 0o640, bytes };
            Answer {
                stdout,
                stderr,
                end: End::Exit(code),
                files: file.map(write).into_iter().collect(),
            }
        },
    )
}

fn table() -> impl Strategy<Value = BTreeMap<Key, Answer>> {
    // JSON keeps arguments as text, so they are text here; stdin is any bytes.
    let argv = proptest::collection::vec("[^\0]{0,12}", 0..4);
    let key = (argv, bytes(60)).prop_map(|(argv, stdin)| {
        let argv = argv.into_iter().map(String::into_bytes).collect();
        Key { argv, stdin, ..Key::default() }
    });
    proptest::collection::btree_map(key, answer(), 30..60)
}

fn case(key: &Key) -> Case {
    let mut case: Case = serde_json::from_str(r#"{"id":"c","steps":[{}]}"#).unwrap();
    case.steps[0] = Step {
        argv: key.argv.iter().map(|a| String::from_utf8(a.clone()).unwrap()).collect(),
        stdin: Some(Content::Hex(HexBytes(key.stdin.clone()))),
        ..Step::default()
    };
    case
}

#[test]
fn arbitrary_bytes_survive_compilation() {
    let temp = tempfile::tempdir().unwrap();
    let task = crate::common::bundle(&temp.path().join("task"));
    let tarball = temp.path().join("submission.tar.gz");
    // Each round compiles one table of dozens of entries; fixed seed.
    let mut runner = TestRunner::new_with_rng(
        Config { cases: 4, max_shrink_iters: 8, failure_persistence: None, ..Config::default() },
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    runner
        .run(&table(), |table| {
            let built = tempfile::tempdir().unwrap();
            let mut tree = SourceTree::with_compile_sh("cc -O1 -w -o executable main.c\n");
            tree.add("main.c", 0o644, program(&table, None).into_bytes());
            std::fs::write(&tarball, tree.to_tar_gz().unwrap()).unwrap();
            let spec = crate::common::build(&task, &tarball, &built.path().join("tree"), false);
            for (key, answer) in &table {
                let seen = crate::common::observe(&spec, &case(key));
                let step = &seen.steps[0];
                prop_assert_eq!(step.stdout.inline_bytes(), answer.stdout.as_slice());
                prop_assert_eq!(step.stderr.inline_bytes(), answer.stderr.as_slice());
                let End::Exit(code) = answer.end else { unreachable!("only exits are generated") };
                prop_assert_eq!(&step.ended, &Ended::Exit { code });
                match (answer.files.first(), seen.files.get("made file")) {
                    (None, None) => {}
                    (Some(FileOp::Write { bytes, .. }), Some(entry)) => {
                        let EntryKind::File { content: Some(content), .. } = &entry.kind else {
                            return Err(TestCaseError::fail("not a file"));
                        };
                        prop_assert!(content.bytes(&NoBlobs).unwrap() == bytes.as_slice());
                        prop_assert_eq!(entry.mode, 0o640);
                    }
                    other => return Err(TestCaseError::fail(format!("{other:?}"))),
                }
            }
            Ok(())
        })
        .unwrap();
}
