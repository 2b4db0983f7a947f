//! `reenact image`: images without a daemon.

use super::Done;
use crate::context::Context;
use crate::error::CommandError;
use clap::Subcommand;

#[derive(Subcommand, Debug)]
pub enum Image {
    /// Show the images of the store
    List,
}

pub fn image(args: &Image, _context: &Context) -> Done {
    match args {
        Image::List => Err(CommandError::usage("not built yet".to_owned())),
    }
}
