//! `elect`: lead one among many, and run a command while leading.

use std::process::ExitCode;

use cli::Command;

mod cli;
mod control;
mod descendants;
mod duration;
mod exit;
mod guard;
mod signals;
mod start;
mod terminal;
mod timer;

fn main() -> ExitCode {
    let code = match cli::parse() {
        Ok(cli) => dispatch(cli.command),
        Err(code) => code,
    };
    ExitCode::from(code)
}

fn dispatch(command: Command) -> u8 {
    match command {
        Command::Guard(args) => guard::run(&args),
        Command::Start(args) => start::run(&args),
        _ => exit::OWN_FAILURE,
    }
}
