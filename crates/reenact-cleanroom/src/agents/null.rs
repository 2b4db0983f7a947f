//! `null`: ships a program that does nothing and exits with 0, the floor of every suite.

use crate::error::CleanroomError;
use crate::site::{Agent, AgentEnd, Site};
use crate::tree::SourceTree;

/// The `null` agent.
pub struct Null;

impl Agent for Null {
    fn name(&self) -> &str {
        "null"
    }

    fn drive(&self, site: &Site<'_>) -> Result<AgentEnd, CleanroomError> {
        tree().place(site.room)?;
        Ok(AgentEnd::Submitted)
    }
}

fn tree() -> SourceTree {
    let mut tree = SourceTree::with_compile_sh(
        "#!/bin/sh\nset -e\ncp program.sh executable\nchmod 755 executable\n",
    );
    tree.add("program.sh", 0o644, b"#!/bin/sh\n".to_vec());
    tree
}
