//! From what was found to a verdict: whether a lock may stand on this file system.
//!
//! The lock needs this of it: a name is created once, by `symlink` or `link`; a symbolic link has
//! its whole text from the start; who opens and lists the directory sees what stands in it. The
//! rest is told because people and other programs rely on it. Pure.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use leaderelection::{FileSystem, FileSystemKind};
use serde::Serialize;

use super::advice::{Settings, advise, slowest_sight};
use super::findings::{Findings, Race, Raced, SecondLock};
use super::mounting;
use super::timing::{LINK, REMOVE};

/// All that a verdict rests on.
#[derive(Clone, Debug)]
pub struct Case {
    /// What was asked about.
    pub directory: PathBuf,
    /// Where the system told it.
    pub file_system: Option<FileSystem>,
    /// By the workers of this host.
    pub findings: Findings,
    /// How many hosts took part.
    pub hosts: usize,
    /// What did not return, if something hung.
    pub hung: Option<String>,
}

/// The verdict in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// A lock may stand here.
    Trust,
    /// A lock may stand here, with longer times than the defaults.
    TrustWithSettings,
    /// No lock should.
    Refuse,
}

/// How one check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sign {
    /// As it should be.
    Good,
    /// Worth knowing, and no danger for a lock.
    Note,
    /// Not known.
    Unknown,
    /// A danger for a lock.
    Bad,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// How it went.
    pub sign: Sign,
    /// What was seen.
    pub detail: String,
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// In a word.
    pub decision: Decision,
    /// Why, where it is not plain trust.
    pub reasons: Vec<String>,
    /// All checks.
    pub checks: Vec<Check>,
    /// The shortest settings that leave room.
    pub settings: Option<Settings>,
}

/// Judges a case.
pub fn judge(case: &Case) -> Verdict {
    let mut checks = vec![kind(case)];
    checks.extend(case.file_system.as_ref().and_then(mounting::options));
    match &case.hung {
        Some(what) => checks.push(check("calls return", Sign::Unknown, what.clone())),
        None => checks.extend(tried(case)),
    }
    checks.extend(case.findings.refusals_elsewhere.iter().map(|refusal| {
        check("other hosts", Sign::Bad, format!("another host refuses: {refusal}"))
    }));
    checks.extend(purges(&case.directory));
    let settings = advise(&case.findings);
    let grave = |check: &&Check| matches!(check.sign, Sign::Bad | Sign::Unknown);
    let mut reasons: Vec<String> = checks
        .iter()
        .filter(grave)
        .map(|check| format!("{}: {}", check.name, check.detail))
        .collect();
    let decision = match &settings {
        _ if !reasons.is_empty() => Decision::Refuse,
        Some(settings) if !settings.allow_defaults() => {
            reasons.push(format!("slow: use {} or more", settings.options()));
            Decision::TrustWithSettings
        }
        _ => Decision::Trust,
    };
    Verdict { decision, reasons, checks, settings }
}

impl Verdict {
    /// What other hosts should hear; empty unless this host refuses.
    pub fn refusal(&self) -> &str {
        match self.decision {
            Decision::Refuse => self.reasons.first().map_or("", String::as_str),
            _ => "",
        }
    }
}

impl Decision {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Decision::Trust => "trust",
            Decision::TrustWithSettings => "trust, with these settings",
            Decision::Refuse => "refuse",
        }
    }
}

/// A check by its name.
pub fn check(name: &str, sign: Sign, detail: impl Into<String>) -> Check {
    Check { name: name.to_owned(), sign, detail: detail.into() }
}

/// What is known of it without trying.
fn kind(case: &Case) -> Check {
    let name = "file system";
    let Some(found) = &case.file_system else {
        return check(name, Sign::Note, "the system does not tell what it is");
    };
    let text = format!("{}: {found}", found.kind.name());
    match found.kind.distrust() {
        Some(reason) => check(name, Sign::Bad, format!("{text}; {reason}")),
        None if is_unheard_of(case) => {
            check(name, Sign::Note, format!("{text}; nothing is known of it beyond these tries"))
        }
        None => check(name, Sign::Good, text),
    }
}

/// Whether only the tries speak for it.
fn is_unheard_of(case: &Case) -> bool {
    use FileSystemKind::{OtherFuse, Smb};
    let kind = case.file_system.as_ref().map(|found| found.kind);
    matches!(kind, None | Some(FileSystemKind::Other | OtherFuse | Smb))
}

fn tried(case: &Case) -> Vec<Check> {
    let findings = &case.findings;
    let mut checks: Vec<Check> =
        Race::ALL.into_iter().map(|way| race(way, findings.races.get(&way))).collect();
    checks.extend([listings(findings), contents(case), appearance(findings)]);
    checks.push(flock("flock, this host", &findings.flock_here));
    if case.hosts > 1 && !findings.flock_elsewhere.is_empty() {
        checks.push(flock("flock, between hosts", &findings.flock_elsewhere));
    }
    checks.extend(link_count(findings));
    checks.extend(failed_calls(findings));
    checks.extend(clock(findings));
    checks.push(hosts(case));
    checks
}

fn race(way: Race, raced: Option<&Raced>) -> Check {
    let name = format!("{} race", way.name());
    let Some(raced) = raced.filter(|raced| raced.tried > 0) else {
        return check(&name, Sign::Unknown, "not tried");
    };
    let refusals: Vec<String> =
        raced.refusals.iter().map(|(errno, count)| format!("{errno} {count}")).collect();
    let refusals = refusals.join(", ");
    if raced.is_unsupported() {
        return match way {
            Race::Symlink => check(&name, Sign::Bad, format!("no symbolic links: {refusals}")),
            _ => check(&name, Sign::Note, format!("not supported: {refusals}; not needed")),
        };
    }
    let seen = format!("won {} of {} tries; refused: {refusals}", raced.won, raced.tried);
    if raced.won_twice > 0 {
        return check(&name, Sign::Bad, format!("two winners, {} times; {seen}", raced.won_twice));
    }
    let lost = raced.nobody + raced.unreadable;
    if raced.nobody > 0 || raced.unreadable * 10 > raced.tried {
        return check(&name, Sign::Bad, format!("{lost} names are gone or unreadable; {seen}"));
    }
    if raced.lost_though_won + raced.unreadable > 0 {
        let wrong = raced.lost_though_won;
        let seen = format!("{seen}; {wrong} told to have lost had won, {lost} unreadable");
        return check(&name, Sign::Note, seen);
    }
    match raced.refusals.keys().any(|errno| errno != "EEXIST") {
        true => check(&name, Sign::Note, format!("{seen} (EEXIST is usual)")),
        false => check(&name, Sign::Good, seen),
    }
}

fn listings(findings: &Findings) -> Check {
    let (name, watched) = ("listings", &findings.watched);
    let errors: Vec<String> =
        watched.errors.iter().map(|(errno, count)| format!("{errno} {count}")).collect();
    let seen = match errors.is_empty() {
        true => format!("{} while names came and went", watched.listings),
        false => format!("{} while names came and went; {}", watched.listings, errors.join(", ")),
    };
    let wrong = [
        (watched.lost_names, "lacked a name that stood there all the time"),
        (watched.went_back, "showed an older state than one before"),
        (watched.wrong_text, "led to a symbolic link with another text"),
    ];
    if watched.listings == 0 {
        return check(name, Sign::Unknown, "none was possible");
    }
    match wrong.iter().find(|(count, _)| *count > 0) {
        Some((count, what)) => check(name, Sign::Bad, format!("{count} {what}; of {seen}")),
        None => check(name, Sign::Good, seen),
    }
}

/// The lock reads no file's content. Of what nothing is known it is a sign, though.
fn contents(case: &Case) -> Check {
    let (name, watched) = ("file contents", &case.findings.watched);
    let seen = format!(
        "of {} reads, {} showed old content after new, {} half of it",
        watched.reads, watched.old_after_new, watched.torn
    );
    match watched.old_after_new + watched.torn {
        0 if watched.reads == 0 => check(name, Sign::Note, "not seen"),
        0 => check(name, Sign::Good, seen),
        _ if is_unheard_of(case) => check(name, Sign::Bad, seen),
        _ => check(name, Sign::Note, format!("{seen} (the lock reads none)")),
    }
}

fn appearance(findings: &Findings) -> Check {
    let name = "absent names";
    let seen = &findings.appearances;
    if seen.is_empty() {
        // The host that creates the name has one observer; a peer has two.
        return check(name, Sign::Unknown, "not tried");
    }
    if seen.iter().any(|seen| seen.listed_micros.is_none()) {
        return check(
            name,
            Sign::Bad,
            "a name that was absent stays absent after the directory is listed (on NFS: mount \
             without nocto, with lookupcache=positive)",
        );
    }
    let late = slowest_sight(findings);
    let plain = seen.iter().map(|seen| seen.plain_micros).max_by_key(|at| at.unwrap_or(u64::MAX));
    match plain.flatten() {
        Some(micros) if seen.iter().all(|seen| seen.plain_micros.is_some()) => {
            let text = format!("seen by a plain look after {}", span(micros));
            check(name, Sign::Good, text)
        }
        _ => {
            let text = format!(
                "not seen by a plain look; after opening and listing the directory within {}",
                span(late.as_micros() as u64)
            );
            check(name, Sign::Note, format!("{text} (the lock does that)"))
        }
    }
}

fn flock(name: &str, tries: &[SecondLock]) -> Check {
    let granted = tries.contains(&SecondLock::Granted);
    let failed = tries.iter().find_map(|seen| match seen {
        SecondLock::Failed(errno) => Some(errno),
        _ => None,
    });
    let unused = "(the lock uses none here)";
    match (granted, failed) {
        (true, _) => check(name, Sign::Note, format!("two got the same lock {unused}")),
        (false, Some(errno)) => check(name, Sign::Note, format!("{errno} {unused}")),
        (false, None) if tries.is_empty() => check(name, Sign::Note, "tried by another host"),
        (false, None) => check(name, Sign::Good, "refused to a second process"),
    }
}

fn link_count(findings: &Findings) -> Option<Check> {
    let count = findings.described.as_ref()?.link_count?;
    Some(match count {
        2 => check("link count", Sign::Good, "2 for a file with two names"),
        _ => check("link count", Sign::Note, format!("{count} for a file with two names")),
    })
}

/// Calls that stopped working while they were timed.
fn failed_calls(findings: &Findings) -> Option<Check> {
    let failed = &findings.failed_calls;
    let needed = failed.keys().any(|call| ![LINK, REMOVE].contains(&call.as_str()));
    let text: Vec<String> = failed.iter().map(|(call, errno)| format!("{call}: {errno}")).collect();
    let text = text.join(", ");
    match (needed, failed.len()) {
        (_, 0) => None,
        (true, _) => Some(check("calls fail", Sign::Bad, text)),
        (false, _) => {
            let text = format!("{text} (the lock creates a symbolic link where it can't link one)");
            Some(check("calls fail", Sign::Note, text))
        }
    }
}

fn clock(findings: &Findings) -> Option<Check> {
    let described = findings.described.as_ref()?;
    let (skew, error) = (described.skew_millis?, described.skew_error_millis);
    let detail = format!("the server's is {skew:+} ms from this host's (within {error} ms)");
    Some(match skew.unsigned_abs() > error + 1000 {
        true => check("clock", Sign::Note, format!("{detail} (the lock compares none)")),
        false => check("clock", Sign::Good, detail),
    })
}

/// Nothing tells whether old files are removed, but places where they often are have a name.
fn purges(directory: &Path) -> Option<Check> {
    let is_of_that_name = |part: Component<'_>| {
        let part = part.as_os_str().to_string_lossy().to_lowercase();
        ["scratch", "tmp", "temp", "work"].iter().any(|name| part.starts_with(name))
    };
    directory.components().any(is_of_that_name).then(|| {
        let detail =
            "such places are often purged of old files: keep no completed lock here for long";
        check("purges", Sign::Note, detail)
    })
}

fn hosts(case: &Case) -> Check {
    let name = "hosts";
    let local = case.file_system.as_ref().is_some_and(|found| found.kind.is_of_one_host());
    match case.hosts {
        1 if local => check(name, Sign::Good, "1; other hosts can't meet here"),
        1 => check(
            name,
            Sign::Note,
            "1: how it is between hosts shows only where `elect doctor --peers 1` runs on two",
        ),
        hosts => check(name, Sign::Good, format!("{hosts} took part")),
    }
}

fn span(micros: u64) -> String {
    // Finer than that nobody needs.
    let micros = if micros > 10_000 { micros / 1000 * 1000 } else { micros };
    humantime::format_duration(Duration::from_micros(micros)).to_string()
}

#[cfg(test)]
mod tests;
