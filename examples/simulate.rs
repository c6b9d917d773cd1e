//! Runs the simulation of `tests/simulation` for as many seeds as you like, or shows one seed.
//!
//!     cargo run --release --features testing --example simulate -- --seeds 100000

use std::io::ErrorKind;
use std::process::ExitCode;

#[path = "../tests/simulation/sim/mod.rs"]
mod sim;

fn main() -> ExitCode {
    let arguments = match sim::cli::Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(mistake) => {
            eprint!("{mistake}");
            return ExitCode::from(2);
        }
    };
    match sim::cli::main(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("what came out cannot be written: {error}");
            ExitCode::from(2)
        }
    }
}
