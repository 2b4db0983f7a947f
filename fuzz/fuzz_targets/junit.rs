//! JUnit files of suites: reading never panics, keeps its limits, and gives the same whatever follows as white space.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reenact_interop::junit::{JunitError, Limits, parse};

fuzz_target!(|text: &str| {
    let limits = Limits { bytes: 1 << 16, depth: 16, cases: 200, attribute: 1 << 12 };
    match parse(text, &limits) {
        Ok(junit) => {
            assert!(junit.testcases <= limits.cases);
            assert!(junit.cases.len() <= junit.testcases);
            assert!(junit.worker_crashes <= junit.testcases);
            assert!(junit.cases.iter().all(|c| !c.name.is_empty()));
            assert!(!text.contains("<!DOCTYPE") || text.contains("<!--") || text.contains("<![CDATA[") || text.contains("<?"));
            if text.len() < limits.bytes {
                let more = text.to_owned() + "\n";
                assert_eq!(parse(&more, &limits).expect("white space is no content"), junit);
            }
        }
        Err(JunitError::Empty) => assert!(text.trim().is_empty()),
        Err(_) => {}
    }
});
