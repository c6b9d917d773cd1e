//! The command `elect`.
fn main() {}
