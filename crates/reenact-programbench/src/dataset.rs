//! Tasks: imported from their wheel or directory, with blobs.
