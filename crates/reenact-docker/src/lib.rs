//! What harnesses ask of a container command, without a daemon: one background process a container.
