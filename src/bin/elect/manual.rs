//! `elect man` and `elect completions`: the command line, told to people and to shells.
//!
//! Made from the same description that parses it.

use std::io::{self, Write};

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::cli::{Cli, CompletionsArgs, ManArgs};
use crate::exit;

/// Returns the exit code.
pub fn run(args: &ManArgs) -> u8 {
    let page = match page(args.subcommand.as_deref()) {
        Ok(page) => page,
        Err(reason) => {
            eprintln!("elect: {reason}");
            return exit::OWN_FAILURE;
        }
    };
    print(&page)
}

/// Returns the exit code.
pub fn complete(args: &CompletionsArgs) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut shown(), env!("CARGO_BIN_NAME"), &mut script);
    print(&script)
}

/// Whoever has closed the pipe wants no more.
fn print(bytes: &[u8]) -> u8 {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => 0,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(error) => {
            eprintln!("elect: cannot write to standard output: {error}");
            exit::OWN_FAILURE
        }
    }
}

/// The manual page of `elect`, or of one of its subcommands.
fn page(subcommand: Option<&str>) -> Result<Vec<u8>, String> {
    let mut elect = shown();
    // Gives the subcommands their full names, as in `elect run`.
    elect.build();
    let command = match subcommand {
        None => elect,
        Some(name) => named(&elect, name)?,
    };
    let mut page = Vec::new();
    // Writing to memory does not fail.
    let source = concat!("elect ", env!("CARGO_PKG_VERSION"));
    Man::new(command).source(source).render(&mut page).map_err(|error| error.to_string())?;
    Ok(page)
}

fn named(elect: &Command, name: &str) -> Result<Command, String> {
    elect.find_subcommand(name).cloned().ok_or_else(|| {
        let names: Vec<_> = elect.get_subcommands().map(Command::get_name).collect();
        format!("no manual page: {name} is none of {}", names.join(", "))
    })
}

/// The command line without what is not for people.
fn shown() -> Command {
    let whole = Cli::command();
    let shown = whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    Command::new(env!("CARGO_BIN_NAME"))
        .version(env!("CARGO_PKG_VERSION"))
        .about(whole.get_about().cloned().unwrap_or_default())
        .disable_help_subcommand(true)
        .subcommands(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_every_option_and_exit_code() {
        let text = String::from_utf8(page(Some("run")).unwrap()).unwrap();
        for part in ["elect\\-run", "\\-\\-lease\\-duration", "\\-\\-repeat", "126", "COMMAND"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(!text.contains("Guard"));
    }

    #[test]
    fn hidden_subcommands_have_no_page() {
        assert!(page(None).is_ok());
        let reason = page(Some("guard")).unwrap_err();
        assert!(reason.starts_with("no manual page: guard is none of run, once, status"));
        let mut script = Vec::new();
        clap_complete::generate(clap_complete::Shell::Bash, &mut shown(), "elect", &mut script);
        let script = String::from_utf8(script).unwrap();
        assert!(script.contains("doctor") && !script.contains("guard"), "{script}");
    }
}
