//! The command line: subcommands, options, and the text of `--help`.
//!
//! This file must not know what an option does.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::doctor::DoctorArgs;
use crate::{duration, exit};

const ABOUT_COMMAND: &str = "\
COMMAND finds ELECT_LOCK, ELECT_IDENTITY and ELECT_FENCING_TOKEN in its environment. It is ended,
with all that it started, before anybody else may lead, even if elect itself is killed or frozen
(a process between the two sees to that; who freezes that one too has to rely on the token).
The token is higher in every later term: a resource that refuses an older one than it has seen is
safe even from a COMMAND that was frozen together with elect.

That process is there while elect waits, too: `ps` shows it as `elect guard … -- COMMAND`, although
COMMAND does not run yet. When COMMAND ends, what it has left in the background is ended as well: a
server must stay in the foreground. At a terminal the keys go to COMMAND. Ctrl-Z stops elect with
it, and a job that stays stopped loses its leadership. A pipeline whose other end reads keys, as in
`elect run … | less`, belongs inside: `-- sh -c 'COMMAND | less'`.

Exit codes:
  COMMAND's own code, or 128 + N where signal N ended it
  75   not acquired: somebody else led until --wait was over; or, for `run`, the task is completed
  76   the leadership was lost, or a success could not be recorded
  125  elect itself failed
  126  COMMAND can't be executed
  127  COMMAND was not found";

const DOCTOR_EXIT_CODES: &str = "\
Exit codes:
  0    a lock may stand here, with the settings that are shown
  1    no lock should stand here
  125  elect itself failed: the directory can't be used, other hosts did not come";

const RESET_EXIT_CODES: &str = "\
Exit codes:
  0    it is forgotten, or there was nothing to forget: no such lock, for one
  75   somebody holds the lock, or was faster
  125  elect itself failed: the lock can't be used";

const STATUS_EXIT_CODES: &str = "\
Exit codes:
  0    the state is shown, whatever it is
  125  elect itself failed: the lock can't be looked at";

const ABOUT: &str = "\
Of all processes that share a lock, one leads and runs a command; if it ends, fails, hangs or \
dies, another takes over";

/// The whole command line.
#[derive(Parser, Debug)]
#[command(name = "elect", version, about = ABOUT, long_about = None)]
#[command(disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Lead, and run COMMAND while leading
    #[command(after_help = ABOUT_COMMAND)]
    Run(RunArgs),
    /// Run COMMAND until one success is recorded, by whomever; then never again
    #[command(after_help = ABOUT_COMMAND)]
    Once(OnceArgs),
    /// Show who leads, since when, and with which fencing token
    #[command(after_help = STATUS_EXIT_CODES)]
    Status(StatusArgs),
    /// Forget that the task is completed, so that `elect once` runs it again
    #[command(after_help = RESET_EXIT_CODES)]
    Reset(ResetArgs),
    /// Try whether a lock can be trusted to a directory, and how fast it is there
    #[command(after_help = DOCTOR_EXIT_CODES)]
    Doctor(DoctorArgs),
    /// Print completions for a shell: `elect completions bash > …/completions/elect`
    Completions(CompletionsArgs),
    /// Print a manual page: `elect man | man -l -`
    Man(ManArgs),
    /// One process of the doctor's; not for people
    #[command(hide = true)]
    DoctorWorker,
}

/// What `run` and `once` share.
#[derive(Args, Clone, Debug)]
pub struct CandidateArgs {
    /// The lock: a directory that all candidates share (its parent must be there)
    #[arg(long, value_name = "LOCK")]
    pub lock: PathBuf,
    /// This candidate's name [default: host, process id and a random part]
    #[arg(long, value_name = "NAME")]
    pub identity: Option<String>,
    /// How long others wait after the last sign of life before they take over
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    #[arg(default_value = "15s", value_parser = duration::positive)]
    pub lease_duration: Duration,
    /// How long the leader goes on without a renewal [default: 2/3 of the lease duration]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    #[arg(value_parser = duration::positive)]
    pub renew_deadline: Option<Duration>,
    /// How long to wait between two tries [default: 2/15 of the lease duration]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    #[arg(value_parser = duration::positive)]
    pub retry_period: Option<Duration>,
    /// The longest term; 0 for no limit
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    #[arg(default_value = "0", value_parser = duration::any)]
    pub term_limit: Duration,
    /// Don't wait longer for a leader that lives; 0 to only try. Whether a leader lives can take
    /// up to its lease to tell; if it does not, this candidate leads [default: wait for ever]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    #[arg(value_parser = duration::any)]
    pub wait: Option<Duration>,
    /// How long COMMAND has between SIGTERM and SIGKILL when it is ended on purpose
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    #[arg(default_value = "10s", value_parser = duration::any)]
    pub kill_after: Duration,
    /// The same when the leadership is lost [default: the most that the lease leaves room for]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    #[arg(value_parser = duration::any)]
    pub loss_grace: Option<Duration>,
    /// Exit code when somebody else led until --wait was over
    #[arg(long, value_name = "CODE", default_value_t = exit::NOT_ACQUIRED)]
    pub not_acquired_exit_code: u8,
    /// Exit code when the leadership was lost, or a success could not be recorded
    #[arg(long, value_name = "CODE", default_value_t = exit::LOST)]
    pub lost_exit_code: u8,
    /// Use a file system that is known not to be safe, and so accept two leaders at once
    #[arg(long)]
    pub i_know: bool,
    /// Wait out the lease even of a leader on this host that is proven to be dead: for work without
    /// inherited descriptors (Python's subprocess, Java's ProcessBuilder, sudo, docker run)
    #[arg(long)]
    pub no_same_host: bool,
    /// Say more; twice for everything
    #[arg(short, long, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Say nothing but errors
    #[arg(short, long)]
    pub quiet: bool,
    /// COMMAND and its arguments, after `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// `elect run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// What it shares with `once`.
    #[command(flatten)]
    pub candidate: CandidateArgs,
    /// Campaign again after each term, until told to end. Others get their turn first: for two
    /// retry periods
    #[arg(long)]
    pub repeat: bool,
}

/// `elect once`.
#[derive(Args, Debug)]
pub struct OnceArgs {
    /// What it shares with `run`.
    #[command(flatten)]
    pub candidate: CandidateArgs,
    /// Own tries before this candidate gives up with COMMAND's code. Between two, others get their
    /// turn: for two retry periods
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub attempts: u32,
}

/// `elect status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// The lock
    #[arg(value_name = "LOCK")]
    pub lock: PathBuf,
    /// As one line of JSON
    #[arg(long)]
    pub json: bool,
    /// Again with each change, until interrupted
    #[arg(long)]
    pub watch: bool,
}

/// `elect reset`.
#[derive(Args, Debug)]
pub struct ResetArgs {
    /// The lock
    #[arg(value_name = "LOCK")]
    pub lock: PathBuf,
    /// Free the lock whatever stands there, a holder or a record that can't be read: for who knows
    /// that nobody leads
    #[arg(long)]
    pub force: bool,
    /// Use a file system that is known not to be safe
    #[arg(long)]
    pub i_know: bool,
}

/// `elect completions`.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// `elect man`.
#[derive(Args, Debug)]
pub struct ManArgs {
    /// The subcommand whose page it is [default: the page of elect itself]
    #[arg(value_name = "SUBCOMMAND")]
    pub subcommand: Option<String>,
}

/// The parsed command line, or the exit code after its mistakes or `--help` were printed.
pub fn parse() -> Result<Cli, u8> {
    Cli::try_parse().map_err(|error| {
        // Printing can only fail where nobody reads it.
        let _ = error.print();
        if error.use_stderr() { exit::OWN_FAILURE } else { 0 }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
