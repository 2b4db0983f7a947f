//! What breaks the policy: evidence, never a verdict.
