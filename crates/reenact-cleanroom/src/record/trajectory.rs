//! Trajectories in mini-swe-agent's format, appended after every step.
