//! `elect doctor`: whether a lock can be trusted to a directory, and how fast it is there.
//!
//! Worker processes ([`worker`]) make all calls into the directory, and play one [`script`]
//! together with those of other hosts. The [`verdict`] is computed from what they found.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use leaderelection::FileSystem;
use rand::TryRng;

use crew::{Crew, Trouble};
use findings::Findings;
use progress::Progress;
use script::Script;
use task::Task;
use verdict::{Case, Decision, Verdict, judge};

use crate::stopping::Stopping;
use crate::{duration, exit};

mod advice;
mod crew;
mod describe;
mod findings;
mod meet;
mod mounting;
mod place;
mod progress;
mod race;
mod report;
mod script;
mod sight;
mod task;
mod timing;
mod verdict;
mod watch;
mod worker;

pub use worker::run as run_worker;

/// How long it may take to find out which file system it is.
const GLANCE: Duration = Duration::from_secs(15);

/// How long removing the session may take: a thousand names, on a slow server. Other hosts whose
/// session is gone find that out themselves.
const REMOVAL: Duration = Duration::from_secs(60);

/// `elect doctor`.
#[derive(clap::Args, Debug)]
pub struct DoctorArgs {
    /// A directory on the file system; `elect` makes a folder in it, and removes that again
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// As one line of JSON
    #[arg(long)]
    json: bool,
    /// Try it together with N other hosts: start the same command there, on the same directory
    #[arg(long, value_name = "N", default_value_t = 0)]
    peers: usize,
    /// How long to wait for them
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration::positive)]
    peer_wait: Duration,
}

/// Returns the exit code: 0 where a lock may stand, 1 where it should not.
pub fn run(args: &DoctorArgs) -> u8 {
    match examine(args) {
        Ok((case, verdict)) => {
            let shown = match args.json {
                true => report::json_line(&args.directory, &case, &verdict),
                false => report::text(&args.directory, &case, &verdict),
            };
            match (shown, verdict.decision) {
                // The verdict stands, whether anybody reads on or not.
                (Err(error), _) if error.kind() != ErrorKind::BrokenPipe => {
                    fail(&format!("cannot write the report: {error}"))
                }
                (_, Decision::Refuse) => exit::REFUSED,
                (_, _) => 0,
            }
        }
        Err(Trouble::Interrupted(signal)) => exit::by_signal(signal),
        Err(Trouble::Failed(reason)) => fail(&reason),
        Err(Trouble::Hung(what, limit)) => fail(&format!("{what} did not return within {limit:?}")),
    }
}

fn fail(reason: &str) -> u8 {
    eprintln!("elect: {reason}");
    exit::OWN_FAILURE
}

fn examine(args: &DoctorArgs) -> Result<(Case, Verdict), Trouble> {
    let failed = |error: std::io::Error| Trouble::Failed(error.to_string());
    let stopping = Stopping::listen().map_err(failed)?;
    let directory = absolute(&args.directory)?;
    let file_system = file_system(&directory)?;
    let host = host_name()?;
    let progress = Progress::new(script::STEPS);
    let mut crew = Crew::start(stopping).map_err(failed)?;
    let mut session = None;
    // Where no lock may stand anyway nobody needs to be waited for; and there names may come late.
    let distrusted = file_system
        .as_ref()
        .is_some_and(|found| found.kind.distrust().is_some() || mounting::refuses(found));
    let peers = if distrusted { 0 } else { args.peers };
    let findings = Findings::default();
    let mut case =
        Case { directory: directory.clone(), file_system, findings, hosts: 1, hung: None };
    let at = directory.clone();
    let examined = Script::begin(&mut crew, &progress, at, &host, peers, args.peer_wait)
        .and_then(|mut script| play(&mut script, &mut case, &mut session));
    drop(crew);
    let left = session.clone().unwrap_or_else(|| directory.join(format!(".elect-doctor-{host}")));
    let removed = clean_up(&directory, &host, session);
    examined?;
    match removed {
        Err(Trouble::Failed(_) | Trouble::Hung(..)) if case.hung.is_some() => {
            eprintln!("elect: {} is left behind: no call returns there", left.display());
        }
        removed => removed?,
    }
    let verdict = judge(&case);
    Ok((case, verdict))
}

/// Plays the script; something that hangs is a finding.
fn play(
    script: &mut Script<'_>,
    case: &mut Case,
    session: &mut Option<PathBuf>,
) -> Result<(), Trouble> {
    *session = Some(script.session.clone());
    case.hosts = script.hosts();
    match script.play() {
        Ok(findings) => case.findings = findings,
        Err(Trouble::Hung(task, limit)) => {
            case.hung = Some(format!("{task} did not return within {limit:?}"));
            return Ok(());
        }
        Err(trouble) => return Err(trouble),
    }
    case.findings.refusals_elsewhere = script.end(judge(case).refusal())?;
    if !script.is_first() {
        // Who is first removes it, when the others have gone.
        *session = None;
    }
    Ok(())
}

/// On a thread of its own: even a look may hang.
fn file_system(directory: &Path) -> Result<Option<FileSystem>, Trouble> {
    let (sender, receiver) = crossbeam_channel::bounded(1);
    let at = directory.to_owned();
    std::thread::Builder::new()
        .name("glance".into())
        .spawn(move || drop(sender.try_send(FileSystem::of(&at))))
        .map_err(|error| Trouble::Failed(format!("cannot start a thread: {error}")))?;
    match receiver.recv_timeout(GLANCE) {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => {
            Err(Trouble::Failed(format!("cannot open {}: {error}", directory.display())))
        }
        Err(_) => Err(Trouble::Hung(format!("opening {}", directory.display()), GLANCE)),
    }
}

/// By a new worker: those of before may hang.
fn clean_up(directory: &Path, host: &str, session: Option<PathBuf>) -> Result<(), Trouble> {
    let mut undertaker = Crew::undertaker().map_err(|error| Trouble::Failed(error.to_string()))?;
    let remove = Task::Remove { directory: directory.to_owned(), host: host.to_owned(), session };
    undertaker.one(0, remove, REMOVAL).map(drop)
}

fn absolute(directory: &Path) -> Result<PathBuf, Trouble> {
    std::path::absolute(directory)
        .map_err(|error| Trouble::Failed(format!("cannot use {}: {error}", directory.display())))
}

/// A name that no other run of any host has.
fn host_name() -> Result<String, Trouble> {
    let random = rand::rngs::SysRng.try_next_u64();
    let random = random.map_err(|error| Trouble::Failed(format!("no random source: {error}")))?;
    Ok(format!("{random:016x}"))
}
