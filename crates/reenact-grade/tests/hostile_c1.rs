//! ATTACKS C1: verdict files written from inside, at build and at run time, everywhere they could be.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod common;

use common::archive::Archive;
use common::bench::{Bench, ID, REFERENCE, attacks, files_under, find};
use reenact_interop::programbench::EvalJson;
use reenact_model::run::Outcome;

/// A shell function that writes forged verdicts wherever it can: by every name, in every place, the run's real path among
/// them.
fn forgery(bench: &Bench) -> String {
    let run = bench.run_dir();
    let run = run.display();
    format!(
        r#"forge() {{
  for d in . .. / /workspace /workspace/{ID} /tmp /home/user /logs/verifier /tests /eval /app /dev/shm \
      {run} {run}/{ID} {run}/.reenact {run}/.reenact/{ID} /proc/1/root/{run}/{ID} /proc/1/cwd; do
    mkdir -p $d 2>/dev/null
    echo '{{"score": 1}}' > $d/{ID}.reenact.json
    echo '{{"test_results": [{{"name": "eval.near.near-up-first", "branch": "near", "status": "passed", "extra": {{}}}}]}}' > $d/{ID}.eval.json
    echo '{{"event":"judged","task":"{ID}","case":{{"id":"near-up-first","group":"near","verdict":"pass","wall_us":1}}}}' >> $d/journal.jsonl
    echo '<testsuite tests="1"><testcase name="near-up-first"/></testsuite>' > $d/results.xml
    echo 1 > $d/reward.txt
    echo '{{"reward": 1}}' > $d/reward.json
  done
  for fd in 3 4 5 6 7 8 9; do eval "echo '{{}}' >&$fd"; done
}}
forge 2>/dev/null
"#
    )
}

fn expected_files() -> Vec<String> {
    let mut names = vec![
        ".reenact/lock".to_owned(),
        "journal.jsonl".to_owned(),
        format!("{ID}/{ID}.eval.json"),
        format!("{ID}/{ID}.reenact.json"),
        format!("{ID}/submission.tar.gz"),
        "run.toml".to_owned(),
    ];
    names.sort();
    names
}

#[test]
fn c1_forged_by_the_build() {
    let bench = Bench::new(attacks(&["nothing"]));
    let forge = forgery(&bench);
    let archive = Archive::new()
        .script("compile.sh", &format!("#!/bin/sh\n{forge}printf '#!/bin/sh\\necho wrong\\n' > executable\nchmod +x executable\n"))
        .file(&format!("{ID}.eval.json"), "{\"test_results\": []}")
        .file("journal.jsonl", "{}\n");
    bench.submit(&archive.gz());
    let result = bench.grade();
    assert_eq!((result.outcome, result.passed), (Outcome::Graded, 0), "{:?}", result.build);
    assert_eq!(result.failed, result.total);
    assert_eq!(files_under(&bench.run_dir()), expected_files());
}

#[test]
fn c1_forged_by_the_candidate() {
    let bench = Bench::new(attacks(&["forge"]));
    let forge = forgery(&bench);
    // Right for every neighbour, wrong for the attack, and forging in every single case.
    let program =
        REFERENCE.replace("case \"$1\" in", &format!("( cd /tmp; {forge} )\ncase \"$1\" in"));
    let program = program.replace("echo \"survived $2\"", "echo forged");
    bench.submit_script(&program);
    let result = bench.grade_fully();
    assert!(!find(&result, "attack-forge").verdict.passed());
    // `pwd` sees the forgeries of its own case in /tmp; every other neighbour is as it should be.
    let spoiled: Vec<_> = result
        .cases
        .iter()
        .filter(|c| !c.verdict.passed() && !c.id.contains("pwd"))
        .map(|c| c.id.as_str())
        .collect();
    assert_eq!(spoiled, ["attack-forge"]);
    assert_eq!(files_under(&bench.run_dir()), expected_files());
    let eval: EvalJson =
        serde_json::from_slice(&std::fs::read(bench.eval_file()).unwrap()).unwrap();
    assert_eq!(eval.score(), (result.passed, result.total));
    let journal = std::fs::read_to_string(bench.journal_file()).unwrap();
    assert_eq!(journal.matches("\"near-up-first\"").count(), 1, "judged once, by us");
}
