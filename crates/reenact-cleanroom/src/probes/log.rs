//! The probe log: events of the oracle, written as lines of `<id>.probes.jsonl`.

/// The probe log of one attempt at one task.
pub struct ProbeLog {
    _private: (),
}
