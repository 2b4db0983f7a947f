//! Rooms that outlive a command: `reenact cleanroom start`.
