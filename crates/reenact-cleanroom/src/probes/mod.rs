//! The probe log: what an agent asked of the reference.

pub mod coverage;
pub mod log;
