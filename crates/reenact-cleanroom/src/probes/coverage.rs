//! Which documented options, subcommands and error paths an agent ever probed.
