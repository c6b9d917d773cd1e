//! `elect` on a machine in trouble: a file system that is full, or read-only of a sudden, calls
//! that hang, a cgroup that gives next to no time.
//!
//! What needs a privilege that is missing says so and is skipped.

#[path = "../elect/support.rs"]
#[expect(dead_code, reason = "shared with the other tests of the command")]
mod support;

mod candidate;
mod full;
mod hung;
mod late;
mod ledger;
mod mounts;
mod read_only;
mod starved;
