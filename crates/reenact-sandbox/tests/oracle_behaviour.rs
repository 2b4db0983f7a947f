//! The oracle as its callers see it: a reference behaves behind the stub as it would if it were called directly, and the host
//! hears of it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod oracle_support;

use oracle_support::{Bench, SHELL};

#[test]
fn arguments_output_and_exit_code() {
    let bench = Bench::new(SHELL);
    let done = bench.sh(r#"./executable -c 'echo out "$@"; echo err >&2; exit 7' x 'a b' ''"#);
    assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (7, "out a b \n", "err\n"));
}
