//! An agent that repeats a recorded trajectory's commands.
