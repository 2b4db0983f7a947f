//! Harbor (PyPI `harbor` 0.25.0): its trials' results read into ours, and our tasks written as its task directories.
//!
//! Facts were read from `models/trial/{result,paths}.py`, `models/job/result.py`, `models/task/config.py`,
//! `models/task/verifier_mode.py`, `trial/artifact_handler.py` and `verifier/verifier.py` of that package.

mod convert;
pub mod task;
mod trial;

pub use convert::{Imported, Place, arrange, import};
pub use trial::{
    AgentContext, AgentInfo, ExceptionInfo, MAX_BYTES, ModelInfo, StepResult, Timing, Totals,
    Trial, read_trial,
};
