//! The muster binary: every door is one of its subcommands.

fn main() {}
