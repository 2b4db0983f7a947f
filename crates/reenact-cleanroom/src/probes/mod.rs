//! The probe log: what an agent asked of the reference.

mod line;
pub mod log;
mod read;

pub use log::ProbeLog;
pub use read::read;
