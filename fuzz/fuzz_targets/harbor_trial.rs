//! Harbor's trials and CTRF reports, two documents with a NUL between them: neither makes us panic, and what they become can be
//! written, read back, and reported.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reenact_interop::ctrf::{Span, read_ctrf, to_ctrf};
use reenact_interop::harbor::{arrange, import, read_trial};
use reenact_interop::junit_out::{Graded, to_junit};
use reenact_model::run::{Standing, TaskResult, this_harness};
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |b| *b == 0);
    let (trial, ctrf) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let tests = read_ctrf(Path::new("ctrf.json"), ctrf).ok();
    let trial = match read_trial(Path::new("result.json"), trial) {
        Ok(Some(trial)) => trial,
        Ok(None) => return,
        Err(e) => {
            assert!(e.to_string().starts_with("result.json"), "an error names the file: {e}");
            return;
        }
    };
    let places = arrange(&[trial.clone(), trial.clone()]);
    assert_eq!(places.iter().map(|p| p.tasks.len()).sum::<usize>(), 2, "no trial is lost");
    let id = places[0].tasks.keys().next().expect("it has a task");
    let harness = this_harness("0", None, false);
    let one = import(&trial, id, "job", tests.as_deref(), &harness);
    let result = &one.result;
    assert!((0.0..=1.0).contains(&result.score));
    assert!(trial.rewards().is_some() || result.outcome.standing() != Standing::Valid);
    let quiet = |text: &str| !text.chars().any(|c| c.is_control() && c != '\n');
    assert!(result.cases.iter().all(|c| quiet(&c.id) && quiet(&c.group)));
    assert!(result.why.iter().chain(&result.notes).all(|t| quiet(t)));
    let text = serde_json::to_string(result).expect("it can be written");
    let again: TaskResult = serde_json::from_str(&text).expect("it can be read back");
    assert_eq!(again.verdicts_digest, result.verdicts_digest);
    let graded = [Graded { name: id.clone(), result }];
    let report = to_ctrf(&graded, Span::default(), "0").to_string();
    let tests = read_ctrf(Path::new("c"), report.as_bytes()).expect("our own report is read");
    assert_eq!(tests.len(), result.cases.len());
    let xml = to_junit(&graded);
    assert!(xml.chars().all(|c| matches!(c, '\t' | '\n' | ' '..='\u{fffd}' | '\u{10000}'..)));
});
