//! A simulation of the election that ships: real machines, and a world that fails around them.
//!
//! Shared by the test target and the command for long runs. A seed and the version of this crate
//! reproduce a run exactly.

mod candidate;
pub mod check;
pub mod cli;
mod directory;
mod fiber;
mod files;
mod liveness;
pub mod many;
pub mod mutant;
mod network;
pub mod plan;
mod rng;
pub mod stats;
mod store;
mod svg;
mod time;
mod trace;
mod weather;
pub mod world;
