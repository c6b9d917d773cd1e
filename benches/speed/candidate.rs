//! One candidate in a process of its own, told what to do line by line on its standard input.
//!
//! `campaign` makes it a candidate, which says `waiting` when it is one and `began NANOS` as the
//! first thing when it leads. `release` ends its work: it says `ended NANOS`, the instant of the
//! work's last instruction, when the lock is given up.

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use leaderelection::crossbeam_channel::{Receiver, Sender, bounded};
use leaderelection::{Config, FileLock, LeaderCallbacks, LeaderElector, OnSuccess};

use crate::bare::Log;
use crate::clock::{now, pause};
use crate::redis::Client;
use crate::subject::key;

/// Lives as a candidate until its input ends.
pub fn run(arguments: &[String]) -> io::Result<()> {
    let [role, path, port, lease, rest @ ..] = arguments else {
        return Err(io::Error::other("a candidate needs a role, a lock, a port and a lease"));
    };
    let path = PathBuf::from(path);
    let lease = Duration::from_millis(lease.parse().map_err(io::Error::other)?);
    match role.as_str() {
        "library" => library(&path, lease, rest),
        "redis" => redis(&path, port.parse().map_err(io::Error::other)?, lease),
        "bare" => bare(&path),
        _ => fs2(&path),
    }
}

/// The work of a command that campaigns for it.
pub fn work() -> io::Result<()> {
    let began = now();
    say(&format!("began {began}"));
    hear()?;
    say(&format!("ended {}", now()));
    Ok(())
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    // Whoever measures may be gone; then the input ends too.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// The next line; `None` at the end.
fn hear() -> io::Result<Option<String>> {
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line)?;
    Ok((read > 0).then(|| line.trim_end().to_owned()))
}

fn fs2(path: &Path) -> io::Result<()> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    while hear()?.is_some() {
        say("waiting");
        fs2::FileExt::lock_exclusive(&file)?;
        say(&format!("began {}", now()));
        if hear()?.is_none() {
            break;
        }
        let ended = now();
        fs2::FileExt::unlock(&file)?;
        say(&format!("ended {ended}"));
    }
    Ok(())
}

fn bare(path: &Path) -> io::Result<()> {
    let mut log = Log::open(path)?;
    while hear()?.is_some() {
        say("waiting");
        log.acquire()?;
        say(&format!("began {}", now()));
        if hear()?.is_none() {
            break;
        }
        let ended = now();
        log.release()?;
        say(&format!("ended {ended}"));
    }
    Ok(())
}

fn redis(path: &Path, port: u16, lease: Duration) -> io::Result<()> {
    let key = key(path);
    let mut client = Client::connect(port)?;
    let mut news = Client::connect(port)?;
    news.call(&["SUBSCRIBE", &key])?;
    let lease = lease.as_millis().to_string();
    while hear()?.is_some() {
        say("waiting");
        while client.call(&["SET", &key, "held", "NX", "PX", &lease])? != "+OK" {
            news.next_message()?;
        }
        say(&format!("began {}", now()));
        if hear()?.is_none() {
            break;
        }
        let ended = now();
        client.call(&["DEL", &key])?;
        client.call(&["PUBLISH", &key, "released"])?;
        say(&format!("ended {ended}"));
    }
    Ok(())
}

fn library(path: &Path, lease: Duration, flags: &[String]) -> io::Result<()> {
    let flag = |at: usize| flags.get(at).is_none_or(|flag| flag == "true");
    let (durable, same_host) = (flag(0), flag(1));
    while hear()?.is_some() {
        let lock = open(path, durable, same_host)?;
        let (release, released) = bounded(1);
        let (task, result) = bounded(1);
        let (tell, ended) = bounded(1);
        let elector = elector(lock, lease, released, task, tell)?;
        let run = elector.spawn(result).map_err(io::Error::other)?;
        // Once it knows of a leader, it has looked; from then on it waits.
        while run.get_leader().is_none() {
            pause(Duration::from_millis(1));
        }
        say("waiting");
        if hear()?.is_none() {
            break;
        }
        let _ = release.send(());
        run.join().map_err(io::Error::other)?;
        // As with the peers: to say it is not part of the work.
        say(&format!("ended {}", ended.recv().map_err(io::Error::other)?));
    }
    Ok(())
}

/// A lock at `path`; without `same_host` only a lease that has expired frees it.
fn open(path: &Path, durable: bool, same_host: bool) -> io::Result<FileLock> {
    FileLock::options().durable(durable).same_host(same_host).open(path).map_err(io::Error::other)
}

fn elector(
    lock: FileLock,
    lease: Duration,
    released: Receiver<()>,
    task: Sender<bool>,
    tell: Sender<u64>,
) -> io::Result<LeaderElector> {
    let callbacks = LeaderCallbacks::new().on_started_leading(move |_term| {
        say(&format!("began {}", now()));
        let _ = released.recv();
        let _ = tell.send(now());
        let _ = task.send(true);
    });
    let config =
        timed(Config::new(lock), lease).on_success(OnSuccess::Release).callbacks(callbacks);
    LeaderElector::new(config).map_err(io::Error::other)
}

/// The proportions of the defaults.
fn timed(config: Config, lease: Duration) -> Config {
    config.lease_duration(lease).renew_deadline(lease * 2 / 3).retry_period(lease * 2 / 15)
}
