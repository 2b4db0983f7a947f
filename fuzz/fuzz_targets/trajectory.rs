//! Trajectories: reading never panics; what is read, torn or not, can be repaired and says the same then; what is exported keeps
//! the rules of ATIF; and what is read can be brought into our layout, where it says the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reenact_interop::trajectory::{
    Read, Subject, adopt, check_atif, read_mini, repaired, to_atif,
};
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    let file = Path::new("t.traj.json");
    let read = match read_mini(file, bytes) {
        Ok(read) => read,
        Err(e) => {
            assert!(e.to_string().starts_with("t.traj.json"), "an error names the file: {e}");
            return;
        }
    };
    let whole = repaired(file, bytes).expect("what was read can be written");
    let again = read_mini(file, &whole).expect("what was written can be read");
    assert!(!again.torn);
    // Not the messages as wholes: the last digit of a number may differ once it was written and read.
    let said = |r: &Read| -> Vec<(String, String)> {
        r.trajectory.messages.iter().map(|m| (m.role.clone(), m.text().into_owned())).collect()
    };
    assert_eq!(said(&again), said(&read));
    let adopted = adopt(file, bytes).expect("what was read can be adopted");
    let again = read_mini(file, &adopted.bytes).expect("what was adopted can be read");
    assert!(!again.torn);
    assert_eq!(said(&again), said(&read));
    let document = to_atif(&read.trajectory, &Subject::default());
    if !document.steps.is_empty() {
        assert_eq!(check_atif(&document), []);
    }
});
