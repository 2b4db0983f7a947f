//! Reports from the oracle's sessions to the host. A session handles what the room gave it, so its bytes are read or refused,
//! never a wild read; a report that is read and written again is the same report.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reenact_zygote::oracle::report::{MAX_REPORT, Report, encode_refused};
use reenact_zygote::proto::Sink;

struct Out(Vec<u8>);

impl Sink for Out {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

fuzz_target!(|data: &[u8]| {
    let Some(report) = Report::decode(data) else { return };
    let mut again = Out(Vec::new());
    encode(&report, &mut again);
    // Heads are bounded where they are made, not where they are read; everything else is bounded here.
    if data.len() <= MAX_REPORT {
        assert!(again.0.len() <= data.len());
    }
    let second = Report::decode(&again.0).expect("what was written can be read");
    // Lists may have been cut the first time; after that nothing changes.
    let mut third = Out(Vec::new());
    encode(&second, &mut third);
    assert_eq!(third.0, again.0);
});

fn encode(report: &Report<'_>, out: &mut Out) {
    match report {
        Report::Began(began) => began.encode(out),
        Report::Ended(ended) => ended.encode(out),
        Report::Refused { why } => encode_refused(why, out),
    }
}
