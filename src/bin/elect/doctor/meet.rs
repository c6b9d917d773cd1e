//! How hosts that share nothing but a directory agree on a session in it, and wait for each other.
//!
//! All is told by symbolic links: a name that exists says something, and its text is there with it.
//! Each host has a name of its own, made up for this run, so that nothing which an earlier run left
//! can be taken for an answer: only a host that lives can acknowledge a name that is new.

use std::io;
use std::path::Path;
use std::time::Duration;

use leaderelection::Stopwatch;
use rustix::io::Errno;

use super::place::{Place, errno_name, own_name, pause};
use super::worker::{Outcome, failed};

/// Where hosts find each other.
const ROOM: &str = ".elect-doctor";

/// The longest text that is published, in characters of up to four bytes: some file systems stop
/// near 1,024 bytes.
const MAX_PUBLISHED: usize = 200;

/// Between two looks.
const POLL: Duration = Duration::from_millis(20);

/// A session that all its hosts know.
#[derive(Debug)]
pub struct Met {
    /// The name of its directory.
    pub session: String,
    /// Its hosts, in the same order everywhere.
    pub hosts: Vec<String>,
}

/// Begins a session, with `peers` other hosts if there are to be any.
pub fn meet(directory: &Place, host: &str, peers: usize, wait: Duration) -> Result<Met, String> {
    if peers == 0 {
        let session = session_of(host);
        make(&directory.child(&session))?;
        return Ok(Met { session, hosts: vec![host.to_owned()] });
    }
    let room = directory.child(ROOM);
    let watch = Stopwatch::start();
    enter_room(&room, host)?;
    loop {
        let names = failed("list", &room, room.list())?;
        acknowledge(&room, host, &names)?;
        if let Some(met) = gather(directory, &room, host, peers, &names)? {
            return Ok(met);
        }
        if watch.elapsed() > wait {
            let found = confirmed(host, &names).len();
            return Err(format!(
                "{found} of {peers} other hosts came to {} within {wait:?}: start `elect doctor \
                 --peers {peers}` there, on the same directory",
                directory.path.display()
            ));
        }
        pause(POLL);
    }
}

/// Waits until every host has come as far as `name`.
pub fn barrier(place: &Place, name: &str, host: &str, hosts: &[String], wait: Duration) -> Outcome {
    let own = format!("at.{name}.{host}");
    let mine = place.open().and_then(|open| open.symlink(host, &own));
    failed("create a name in", place, own_name(mine))?;
    let watch = Stopwatch::start();
    for other in hosts.iter().filter(|other| *other != host) {
        let awaited = format!("at.{name}.{other}");
        loop {
            match place.look(&awaited) {
                Ok(Some(_)) => break,
                Ok(None) => {}
                Err(Errno::NOENT) => {
                    return Err("another host has ended the session early".into());
                }
                Err(Errno::STALE | Errno::IO) => {}
                Err(errno) => return failed("read a name in", place, Err(errno)),
            }
            if watch.elapsed() > wait {
                return Err(format!("another host did not come as far as {name} in {wait:?}"));
            }
            // Some clients believe in a name's absence until they have listed.
            let _ = place.list();
            pause(POLL / 4);
        }
    }
    Ok(())
}

/// Tells the other hosts something.
pub fn publish(place: &Place, host: &str, text: &str) -> Outcome {
    // A symbolic link has at least one byte.
    let text: String = format!("={text}").chars().take(MAX_PUBLISHED).collect();
    let name = format!("says.{host}");
    let told = place.open().and_then(|open| open.symlink(&text, &name));
    failed("create a name in", place, own_name(told))
}

/// What these hosts have told; empty texts are left out.
pub fn collect(place: &Place, hosts: &[String]) -> Result<Vec<String>, String> {
    let mut told = Vec::new();
    for host in hosts {
        let name = format!("says.{host}");
        let text = failed("read a name in", place, place.look(&name))?;
        let text = text.unwrap_or_else(|| "=what another host found can't be read".into());
        told.push(text[1..].to_owned());
    }
    told.retain(|text| !text.is_empty());
    Ok(told)
}

/// Removes what `host` has left in the room, and its session.
pub fn remove(directory: &Place, host: &str, session: Option<&Path>) -> Outcome {
    let room = directory.child(ROOM);
    if let Ok(open) = room.open() {
        for name in open.list().unwrap_or_default() {
            if name.split('.').any(|part| part == host) {
                // Its other host may be removing it as well.
                let _ = open.remove(&name);
            }
        }
        drop(open);
        // Refused while other hosts are in it.
        let _ = std::fs::remove_dir(&room.path);
    }
    let own = directory.child(&session_of(host));
    let session = session.map_or(own, Place::new);
    let removed: io::Result<()> = session.remove_all();
    removed.map_err(|error| format!("cannot remove {}: {error}", session.path.display()))
}

fn session_of(host: &str) -> String {
    format!("{ROOM}-{host}")
}

fn make(place: &Place) -> Outcome {
    match place.make() {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("cannot make {}: {error}", place.path.display())),
    }
}

/// Others may remove the room at that moment, because they are done with it.
fn enter_room(room: &Place, host: &str) -> Outcome {
    let mut last = Errno::NOENT;
    for _ in 0..50 {
        make(room)?;
        let entered = room.open().and_then(|open| open.symlink(host, &format!("host.{host}")));
        match own_name(entered) {
            Ok(()) => return Ok(()),
            Err(errno) => last = errno,
        }
        pause(POLL);
    }
    Err(format!("cannot create a name in {}: {}", room.path.display(), errno_name(last)))
}

fn acknowledge(room: &Place, host: &str, names: &[String]) -> Outcome {
    let others = names.iter().filter_map(|name| name.strip_prefix("host."));
    for other in others.filter(|other| *other != host) {
        let name = format!("ack.{host}.{other}");
        if !names.contains(&name) {
            let told = room.open().and_then(|open| open.symlink(host, &name));
            failed("create a name in", room, own_name(told))?;
        }
    }
    Ok(())
}

/// The hosts that have acknowledged `host`.
fn confirmed<'a>(host: &str, names: &'a [String]) -> Vec<&'a str> {
    let acknowledged = |name: &'a String| {
        let (from, to) = name.strip_prefix("ack.")?.split_once('.')?;
        (to == host).then_some(from)
    };
    names.iter().filter_map(acknowledged).collect()
}

/// The lowest host of all makes the session and says who takes part; the others wait for that.
fn gather(
    directory: &Place,
    room: &Place,
    host: &str,
    peers: usize,
    names: &[String],
) -> Result<Option<Met>, String> {
    let mut hosts = confirmed(host, names);
    if hosts.len() == peers && hosts.iter().all(|other| host < *other) {
        hosts.push(host);
        hosts.sort_unstable();
        make(&directory.child(&session_of(host)))?;
        let started =
            room.open().and_then(|open| open.symlink(&hosts.join(" "), &format!("start.{host}")));
        failed("create a name in", room, own_name(started))?;
        return Ok(Some(met(host, &hosts.join(" "))));
    }
    for first in names.iter().filter_map(|name| name.strip_prefix("start.")) {
        let text = room.look(&format!("start.{first}")).ok().flatten().unwrap_or_default();
        if text.split(' ').any(|member| member == host) {
            return Ok(Some(met(first, &text)));
        }
    }
    match hosts.len() > peers {
        true => Err(format!(
            "{} other hosts are at {}, more than the {peers} that --peers says",
            hosts.len(),
            directory.path.display()
        )),
        false => Ok(None),
    }
}

fn met(first: &str, hosts: &str) -> Met {
    Met { session: session_of(first), hosts: hosts.split(' ').map(str::to_owned).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_acknowledges_this_very_host_counts() {
        let names = ["host.a", "host.b", "ack.b.a", "ack.a.b", "ack.c.x", "start.z"];
        let names = names.map(str::to_owned);
        assert_eq!(confirmed("a", &names), ["b"]);
        assert_eq!(confirmed("b", &names), ["a"]);
        assert!(confirmed("c", &names).is_empty());
    }

    #[test]
    fn hosts_that_meet_agree_and_leave_nothing() {
        let scratch = tempfile::tempdir().unwrap();
        let place = Place::new(scratch.path());
        let wait = Duration::from_secs(30);
        let met: Vec<Met> = std::thread::scope(|scope| {
            let hosts = ["b", "a", "c"].map(|host| {
                let place = &place;
                scope.spawn(move || meet(place, host, 2, wait).unwrap())
            });
            hosts.map(|host| host.join().unwrap()).into()
        });
        for met in &met {
            assert_eq!(met.hosts, ["a", "b", "c"]);
            assert_eq!(met.session, ".elect-doctor-a");
        }
        let session = scratch.path().join(".elect-doctor-a");
        for host in ["a", "b", "c"] {
            remove(&place, host, Some(&session)).unwrap();
        }
        assert_eq!(place.list().unwrap(), [""; 0]);
    }

    #[test]
    fn a_host_that_nobody_joins_says_so_in_time() {
        let scratch = tempfile::tempdir().unwrap();
        let place = Place::new(scratch.path());
        let refusal = meet(&place, "a", 1, Duration::from_millis(50)).unwrap_err();
        assert!(refusal.contains("0 of 1 other hosts"), "{refusal}");
    }
}
