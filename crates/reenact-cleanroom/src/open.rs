//! Opening a cleanroom for a task: seal levels, documentation, oracle, audit.
