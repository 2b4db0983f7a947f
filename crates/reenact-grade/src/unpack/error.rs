//! Why a submission's archive was refused.

use reenact_bundle::FsError;

/// Why an archive could not be unpacked. Everything but [`UnpackError::Fs`] and [`UnpackError::Read`] is the archive's own
/// fault and repeats with the same bytes.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The first bytes are not a gzip header.
    #[error("is not a gzip file; make it with `tar -czf submission.tar.gz -C <tree> .`")]
    NotGzip,
    /// The stream stops in the middle.
    #[error("is truncated (the stream ends {0}); copy it again")]
    Truncated(&'static str),
    /// The bytes make no sense.
    #[error("is corrupt: {0}; make it again with `tar -czf`")]
    Corrupt(String),
    /// One entry is not acceptable.
    #[error("entry \"{entry}\": {why}")]
    Refused {
        /// The entry's name as a path key (`reenact_model::observe::path_key`).
        entry: String,
        why: Refusal,
    },
    /// The archive holds too much.
    #[error("entry \"{entry}\": {what}")]
    Limit { entry: String, what: Limit },
    /// Our side failed to write.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The file could not be read.
    #[error("cannot be read: {0}")]
    Read(std::io::Error),
}

impl UnpackError {
    /// Whether the archive itself is to blame (a valid zero), rather than this machine.
    pub fn is_archives_fault(&self) -> bool {
        !matches!(self, Self::Fs(_) | Self::Read(_))
    }
}

/// What is wrong with one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("an absolute path; archive the tree with `-C <tree> .`")]
    AbsolutePath,
    #[error("a path with `..`")]
    ParentPath,
    #[error("an empty name")]
    EmptyName,
    #[error("a name with a NUL byte")]
    NulInName,
    #[error("a name longer than {0} bytes")]
    LongName(usize),
    #[error("its parent is a file or a symbolic link")]
    ParentNotADirectory,
    #[error("replaces an earlier directory or symbolic link of that name")]
    Replaces,
    #[error("a symbolic link to an absolute path; make it relative and inside the tree")]
    AbsoluteLink,
    #[error("a symbolic link that leads out of the tree")]
    EscapingLink,
    #[error("symbolic links too tangled to follow")]
    TangledLinks,
    #[error("a hard link to something that is not an earlier regular file of the archive")]
    HardLink,
    #[error("a device, fifo or other special file")]
    Special,
    #[error("a setuid or setgid file")]
    SetId,
    #[error("a sparse file; archive it without `--sparse`")]
    Sparse,
    #[error("an entry type this reader does not know")]
    UnknownType,
    #[error("an extended header that makes no sense")]
    BadExtension,
}

/// Which cap was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    #[error("more than {0} entries")]
    Entries(u64),
    #[error("more than {0} bytes when unpacked")]
    Bytes(u64),
    #[error("an extended header of more than {0} bytes")]
    Header(u64),
}
