//! What an agent may use. The type is part of the manifest's vocabulary and lives there.

pub use reenact_model::policy::Policy;
