//! The loop of a language model with one shell tool.
