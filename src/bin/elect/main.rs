//! `elect`: lead one among many, and run a command while leading.

use std::process::ExitCode;

use cli::Command;

mod candidate;
mod child;
mod cli;
mod command;
mod control;
mod descendants;
mod doctor;
mod duration;
mod exit;
mod guard;
mod manual;
mod once;
mod output;
mod reset;
mod run;
mod signals;
mod start;
mod status;
mod stopping;
mod terminal;
mod timer;
mod timing;
mod verdict;
mod waiting;
mod work;

fn main() -> ExitCode {
    let code = match cli::parse() {
        Ok(cli) => dispatch(&cli.command),
        Err(code) => code,
    };
    ExitCode::from(code)
}

fn dispatch(command: &Command) -> u8 {
    match command {
        Command::Run(args) => run::run(args),
        Command::Once(args) => once::run(args),
        Command::Status(args) => status::run(args),
        Command::Reset(args) => reset::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Completions(args) => manual::complete(args),
        Command::Man(args) => manual::run(args),
        Command::DoctorWorker => doctor::run_worker(),
        Command::Guard(args) => guard::run(args),
        Command::Start(args) => start::run(args),
    }
}
