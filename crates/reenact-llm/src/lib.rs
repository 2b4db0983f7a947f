//! Model clients: a conversation with tools, over two HTTP APIs (OpenAI-compatible chat completions, Anthropic messages).
//!
//! [`Client::complete`] gives one reply or a typed error, after retries; it never writes a key anywhere. Costs come from a
//! price table file whose digest goes into run manifests.
