//! Who is told how far it is.

/// Told from several threads. All methods may do nothing.
pub trait Progress: Sync {
    /// Something worth knowing that is no error.
    fn note(&self, _text: &str) {}
    /// Layers that are in the store, of all.
    fn layer(&self, _done: u64, _all: u64) {}
    /// Bytes that were downloaded, of all.
    fn bytes(&self, _done: u64, _all: u64) {}
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {}
