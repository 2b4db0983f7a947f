//! The whole-filesystem audit: is anything of the reference readable in the room?
