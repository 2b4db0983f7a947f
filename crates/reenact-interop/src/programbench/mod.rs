//! ProgramBench's `<id>.eval.json`, as its own tools (PyPI `programbench` 1.2.5) read and write it.
//!
//! Facts about the format were read from `eval/eval.py` and `eval/eval_batch.py` of that package; field names and the set
//! of statuses are theirs, and unknown keys are refused where theirs are. Our case groups are their branches.

mod convert;
mod eval_json;
pub mod python;
mod tests_json;

pub use convert::{error_code, test_name, to_eval};
pub use eval_json::{EvalJson, Extra, LogEntry, Status, TestBranchError, TestResult, step};
pub use tests_json::{Branch, IgnoredTest, Reason, TaskYaml, TestsJson};
