//! The simulation, as part of the suite.

mod sim;

use sim::many::{Batch, run_many};
use sim::world::Options;

#[test]
fn smoke() {
    let options = Options { minutes: 10, mutant: None, traced: false };
    let batch = Batch { from: 0, seeds: 50, threads: 2, at_most: None, options };
    let outcome = run_many(batch, |_, _| {});
    println!("{}", sim::cli::summary(&outcome));
    assert!(outcome.failed.is_empty());
}
