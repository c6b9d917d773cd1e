//! `elect`: lead one among many, and run a command while leading.

use std::env;
use std::process::ExitCode;

use cli::Command;
use guard::GuardArgs;
use words::Words;

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
mod guards;
mod manual;
mod names;
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
mod words;
mod work;

fn main() -> ExitCode {
    let code = own_step().unwrap_or_else(|| match cli::parse() {
        Ok(cli) => dispatch(&cli.command),
        Err(code) => code,
    });
    ExitCode::from(code)
}

/// What `elect` starts itself for, not for people: to stand between it and COMMAND.
fn own_step() -> Option<u8> {
    let mut words = env::args_os().skip(1);
    let name = words.next()?;
    let words = Words::new(words.collect());
    match name.to_str()? {
        "guard" => Some(guard::run(&GuardArgs::read(words)?)),
        _ => None,
    }
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
    }
}
