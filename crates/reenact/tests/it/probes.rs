//! What an agent asked of the reference: `reenact probes`, its coverage view, and the section of the report.

use crate::support::Scratch;
use serde_json::Value;

#[test]
fn probes_of_a_real_run_are_shown_and_held_against_the_documentation() {
    let s = Scratch::new();
    let id = s.sort_suite(4);
    s.reenact(["run", &id, "--agent", "memorizer", "--probes", "60", "-o", "run"]).expect(0);
    let log = s.read(&format!("run/{id}/{id}.probes.jsonl"));
    let lines = log.lines().count();
    assert!((40..=60).contains(&lines), "{lines} probes; some of 60 are alike");

    let table = s.reenact(["probes", "run", &id]).expect(0);
    assert!(table.starts_with("probe  time"), "{table}");
    assert_eq!(table.lines().count(), lines + 2);
    assert!(table.contains("/workspace/executable --help\n"), "{table}");

    let view = s.reenact(["probes", "run", &id, "--coverage"]).expect(0);
    assert!(view.starts_with(&format!("{lines} probes")), "{view}");
    assert!(view.contains(" documented options, "), "{view}");
    assert!(view.find("Never probed").unwrap() < view.find("\nOptions\n").unwrap(), "{view}");
    assert!(
        view.contains("unknown option"),
        "-V, which sort does not know, is asked first: {view}"
    );

    let json = |args: &[&str]| -> Value {
        let args = [&["--json", "probes", "run", &id], args].concat();
        serde_json::from_str(&s.reenact(args).expect(0)).unwrap()
    };
    assert_eq!(json(&[])["probes"].as_array().unwrap().len(), lines);
    let held = json(&["--coverage"]);
    assert_eq!(held["coverage"]["probes"], lines);
    let help =
        held["coverage"]["options"].as_array().unwrap().iter().find(|o| o["name"] == "--help");
    assert!(help.unwrap()["count"].as_u64().unwrap() > 0);

    s.reenact(["grade", "run"]).expect(0);
    s.reenact(["report", "run", "-o", "r.html"]).expect(0);
    let page = s.read("r.html");
    for text in [
        "Probes of the reference",
        "Never probed",
        "The probes",
        "executable --help",
        "policy digest",
    ] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn what_cannot_be_shown_says_why() {
    let s = Scratch::new();
    let id = s.sort_suite(2);
    s.reenact(["run", &id, "--agent", "null", "-o", "run"]).expect(0);
    assert!(s.reenact(["probes", "run", &id]).expect(4).contains("never run"));
    let view = s.reenact(["probes", "run", &id, "--coverage"]).expect(4);
    // Nothing was asked, so every documented option is missing.
    let (missing, all) = view
        .split_once("options (")
        .and_then(|(_, rest)| rest.split_once(')')?.0.split_once(" of "))
        .unwrap();
    assert!(missing == all && missing.parse::<u32>().unwrap() >= 9, "{view}");
    s.reenact(["probes", "run", "nope"]).fails(2, &["nope", &id]);
    s.reenact(["probes", "nowhere", &id]).fails(2, &["nowhere", "not a run directory"]);

    s.write(&format!("run/{id}/{id}.probes.jsonl"), "{\"id\":1,\"when\":2}\n");
    s.reenact(["probes", "run", &id]).fails(2, &["probes.jsonl, line 1", "when"]);
    // A log that cannot be read costs its section, not the report.
    s.reenact(["grade", "run"]).expect(0);
    let ran = s.reenact(["report", "run", "-o", "r.html"]);
    assert!(ran.stderr.contains("probes.jsonl, line 1"), "{}", ran.stderr);
    ran.expect(0);
    assert!(!s.read("r.html").contains("Probes of the reference"));
}
