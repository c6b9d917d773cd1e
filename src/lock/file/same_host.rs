//! What is known of a holder on this same host: whether its process still lives, and until when
//! it has its lease.
//!
//! A proof of death rests on this: a holder takes its companion's lock before its first claim, and
//! the kernel drops that lock when the last process that has it open is gone, with every system
//! call of it returned. So whoever finds in a record of this boot the companion that stands under
//! its name in a directory of this user alone, and gets its lock, knows that nothing of that
//! term's work runs any more in those processes.
//!
//! What the dead had sent to a server may still arrive there: a renewal, a release or a claim. Each
//! is the creation of one name. If it comes first, the claim that this proof allows finds the name
//! taken and is a conflict; if it comes second, it finds the name taken itself. So a proof is no
//! more than a reason not to wait, as a release is.
//!
//! Whatever is not exactly as it should be means "not known", and the lease is waited for.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::Errno;

use crate::clock::Instant;
use crate::lock::file::bell::Bell;
use crate::lock::file::companion::{Companion, CompanionId, Tried, elector_of, try_shared};
use crate::lock::file::entry::{BootId, Entry, HolderFacts};
use crate::lock::file::place::{Place, bases, id_of_file};
use crate::lock::file::probes;
use crate::lock::file::slot::Slot;
use crate::lock::file::step::DirectoryId;
use crate::record::Liveness;

/// Which companion a lock has.
#[derive(Clone, Debug, Default)]
pub(super) enum Own {
    /// The process's.
    #[default]
    OfProcess,
    /// None, and others' are not looked at.
    Off,
    /// One of its own in the first of these directories, which stand for the usual ones.
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests need more than one a process"))]
    In(Vec<PathBuf>),
}

/// The companions of this lock and of the holder that it looks at.
#[derive(Debug)]
pub(super) struct SameHost {
    own: Own,
    boot: Option<BootId>,
    companion: Option<Companion>,
    probe: Option<Arc<Probe>>,
}

/// A holder's companion.
#[derive(Debug)]
pub(super) struct Probe {
    id: CompanionId,
    /// `None` where nothing stands under its name.
    found: Option<(Place, Arc<File>)>,
}

impl SameHost {
    pub(super) fn new(own: Own, boot: Option<BootId>) -> Self {
        Self { own, boot, companion: None, probe: None }
    }

    /// What is to stand in a claim, so that others can tell whether this process lives.
    pub(super) fn facts(&mut self) -> Option<HolderFacts> {
        self.prepare();
        // One that somebody has closed has no lock any more: this process would be taken for dead.
        let companion = self.companion.as_ref().filter(|own| own.file().is_some())?.id();
        Some(HolderFacts { boot: self.boot.clone()?, companion })
    }

    /// Makes the companion of this process, if need be. Who waits for a holder does so meanwhile,
    /// not when the lease has become free.
    fn prepare(&mut self) {
        if self.companion.is_some() || self.boot.is_none() {
            return;
        }
        let made = match &self.own {
            Own::Off => return,
            Own::OfProcess => Companion::of_process(),
            Own::In(bases) => Companion::make_in_any(bases),
        };
        match made {
            Ok(companion) => self.companion = Some(companion),
            Err(error) => log::debug!("{error}"),
        }
    }

    #[cfg(test)]
    pub(super) fn companion(&self) -> Option<&Companion> {
        self.companion.as_ref()
    }

    #[cfg(test)]
    pub(super) fn set_companion(&mut self, companion: Companion) {
        self.companion = Some(companion);
    }

    /// Writes down until when the lease of this process's term lasts.
    pub(super) fn confirmed(&self, term: Slot, until: Instant) {
        if let Some(file) = self.companion.as_ref().and_then(Companion::file) {
            term.write(file, until);
        }
    }

    /// Notices whether somebody in this process has closed the companion's file.
    pub(super) fn check(&self) {
        let _ = self.companion.as_ref().map(Companion::check);
    }

    /// This process does nothing for the term any more.
    pub(super) fn ended(&self, term: Slot) {
        if let Some(file) = self.companion.as_ref().and_then(Companion::file) {
            term.clear(file);
        }
    }

    /// What is known `now` of the process that wrote `entry` in `directory`; its end rings the
    /// bell, if there is one.
    pub(super) fn liveness(
        &mut self,
        directory: DirectoryId,
        entry: &Entry,
        now: Instant,
        bell: Option<&mut Bell>,
    ) -> Liveness {
        let Some(facts) = &entry.holder else { return Liveness::Unknown };
        // Another boot's lock is gone with that kernel, and another machine's can't be seen.
        if matches!(self.own, Own::Off) || self.boot.as_ref() != Some(&facts.boot) {
            return Liveness::Unknown;
        }
        if self.probe.as_ref().is_none_or(|probe| probe.id != facts.companion) {
            self.probe = self.find(facts.companion);
        }
        if bell.is_some() {
            self.prepare();
        }
        let Some(probe) = &self.probe else { return Liveness::Unknown };
        if let (Some((_, companion)), Some(bell)) = (&probe.found, bell) {
            bell.listen_to_companion(probe.id, companion);
        }
        let term = entry.record.fencing_token.map(|token| Slot::of(directory, token));
        probe.look(term, now)
    }

    fn find(&self, id: CompanionId) -> Option<Arc<Probe>> {
        match &self.own {
            Own::In(bases) => Probe::find(id, bases).map(Arc::new),
            Own::OfProcess | Own::Off => probes::shared(id, || Probe::find(id, &bases())),
        }
    }
}

impl Probe {
    /// `None` where looking failed for a reason that may pass.
    pub(super) fn find(id: CompanionId, bases: &[PathBuf]) -> Option<Self> {
        let mut surely_absent = true;
        for base in bases {
            let opened =
                Place::open(base).map_err(|unusable| unusable.errno).and_then(|place| match place
                    .open_file(&id.name())
                {
                    Ok((file, found)) => Ok((place, file, found)),
                    Err(errno) => Err(Some(errno)),
                });
            match opened {
                Ok((place, file, found)) if found == id.file() => {
                    return Some(Self { id, found: Some((place, file.into())) });
                }
                Ok(_) | Err(None | Some(Errno::NOENT)) => {}
                Err(_) => surely_absent = false,
            }
        }
        surely_absent.then_some(Self { id, found: None })
    }

    /// Whether it was found. That there is none may be known otherwise to who looks later.
    pub(super) fn is_of_a_file(&self) -> bool {
        self.found.is_some()
    }

    fn look(&self, term: Option<Slot>, now: Instant) -> Liveness {
        let Some((place, file)) = &self.found else { return Liveness::Unknown };
        match try_shared(file) {
            // It may live for long without the lease: it was lost, or left to expire, or the
            // process is frozen. Or its work holds the lock: for how long nobody knows, and nobody
            // renews.
            Tried::Busy => {
                let until = term.and_then(|term| term.read(file));
                let lasts = until.is_some_and(|until| now < until);
                match lasts && !self.has_lost_its_elector(place) {
                    true => Liveness::Alive,
                    false => Liveness::Unknown,
                }
            }
            Tried::Free if self.is_in_place(place, file) => Liveness::Dead,
            Tried::Free | Tried::NotKnown => Liveness::Unknown,
        }
    }

    /// Asked only after the lock was had: a process that gives its companion up takes the name away
    /// first. And what was locked must be the file: somebody in this process may have closed its
    /// descriptor, whose number is another file's then.
    fn is_in_place(&self, place: &Place, file: &File) -> bool {
        let companion = Ok(self.id.file());
        id_of_file(file) == companion && place.identify(&self.id.name()) == companion
    }

    fn has_lost_its_elector(&self, place: &Place) -> bool {
        let elector = place.open_file(&elector_of(&self.id.name()));
        elector.is_ok_and(|(elector, _)| try_shared(&elector) == Tried::Free)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_probe_whose_file_somebody_has_closed_proves_nothing() {
        let base = tempfile::tempdir_in("/dev/shm").unwrap();
        let bases = [base.path().to_owned()];
        let living = Companion::make_in_any(&bases).unwrap();
        let mut probe = Probe::find(living.id(), &bases).unwrap();
        assert_eq!(probe.look(None, Instant::default()), Liveness::Unknown, "it lives");
        // Its number is another file's by now, whose lock nobody has.
        probe.found.as_mut().unwrap().1 = Arc::new(tempfile::tempfile().unwrap());
        assert_eq!(probe.look(None, Instant::default()), Liveness::Unknown);
    }
}
