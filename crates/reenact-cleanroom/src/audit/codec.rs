//! Numbers and byte strings in the audit's cache files. A file that does not decode is as good as none.

use super::walk::{Node, Stamp};

/// Appends little-endian values.
#[derive(Default)]
pub(crate) struct Writer(pub Vec<u8>);

impl Writer {
    pub(crate) fn new(magic: &[u8; 8]) -> Self {
        Self(magic.to_vec())
    }

    pub(crate) fn number(&mut self, n: u64) {
        self.0.extend(n.to_le_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend(bytes);
    }

    pub(crate) fn stamp(&mut self, s: &Stamp) {
        self.number(s.ino);
        self.number(s.size);
        self.number(s.mtime.cast_unsigned());
        self.number(s.ctime.cast_unsigned());
    }

    pub(crate) fn node(&mut self, n: &Node) {
        self.bytes(&n.path);
        self.stamp(&n.stamp);
    }
}

/// Takes them off again; `None` at the first thing that does not fit.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], magic: &[u8; 8]) -> Option<Self> {
        bytes.strip_prefix(magic).map(Self)
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        let (head, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*head))
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    pub(crate) fn stamp(&mut self) -> Option<Stamp> {
        Some(Stamp {
            ino: self.number()?,
            size: self.number()?,
            mtime: self.number()?.cast_signed(),
            ctime: self.number()?.cast_signed(),
        })
    }

    pub(crate) fn node(&mut self) -> Option<Node> {
        Some(Node { path: self.bytes()?.to_vec(), stamp: self.stamp()? })
    }

    /// How many values of at least eight bytes each can follow: a bound for what is reserved.
    pub(crate) fn count(&mut self) -> Option<usize> {
        let n = usize::try_from(self.number()?).ok()?;
        (n <= self.0.len() / 8).then_some(n)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
