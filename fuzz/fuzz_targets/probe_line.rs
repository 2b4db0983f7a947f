//! A line of a probe log: parsing, writing it back, and everything that is shown of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reenact_model::observe::{key_bytes, path_key};
use reenact_model::probe::Probe;
use reenact_model::surface::{DocumentedExit, DocumentedOption, DocumentedSurface};
use reenact_report::probes::{coverage, coverage_text, missing, probe_table};
use std::path::Path;
use std::sync::LazyLock;

static SURFACE: LazyLock<DocumentedSurface> = LazyLock::new(|| {
    let words = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
    let option = |names: &str, value: bool, optional: bool| DocumentedOption {
        names: words(names),
        values: if value { words("N") } else { Vec::new() },
        optional,
        glued: optional,
        choices: if value { words("1 2") } else { Vec::new() },
        ..DocumentedOption::default()
    };
    DocumentedSurface {
        options: vec![
            option("-a --all", false, false),
            option("-w --width", true, false),
            option("-B", true, true),
            option("-append", false, false),
            DocumentedOption { command: words("sub"), ..option("-s --size", true, false) },
        ],
        subcommands: vec![words("sub"), words("sub deep")],
        env: words("TZ HOME"),
        exits: vec![DocumentedExit { code: 2, what: "usage".to_owned() }],
        ..DocumentedSurface::default()
    }
});

fuzz_target!(|data: &[u8]| {
    assert_eq!(key_bytes(&path_key(data)), data, "keys turn back into their bytes");
    let file = Path::new("t.probes.jsonl");
    let probe = match Probe::parse(file, 7, data) {
        Ok(probe) => probe,
        Err(e) => return assert!(e.to_string().starts_with("t.probes.jsonl, line 7"), "{e}"),
    };
    let written = serde_json::to_vec(&probe).expect("plain data");
    assert!(!written.contains(&b'\n'), "a line holds no newline");
    assert_eq!(probe, Probe::parse(file, 7, &written).expect("what was written can be read"));

    let probes = [probe.clone(), Probe { id: probe.id.wrapping_add(1), ..probe }];
    let held = coverage(&SURFACE, &probes);
    assert_eq!(held.probes, 2);
    for text in [probe_table(&probes, false), coverage_text(&held, false)] {
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    }
    assert!(missing(&held).iter().all(|m| !m.names.is_empty()));
});
