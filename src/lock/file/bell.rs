//! What a lock listens for while it waits: its directory, and the companion of who holds it.
//!
//! This file must not know how the system tells of an event.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use crate::lock::file::companion::CompanionId;
use crate::lock::file::step::DirectoryId;
use crate::lock::file::wake::{Listener, Target, Watch};
use crate::lock::waker::Waker;
use crate::sync::channel::{Receiver, bounded, never};

/// Rings when what is listened for may have changed.
pub(super) struct Bell {
    listener: Arc<Listener>,
    waker: Waker,
    rung: Receiver<()>,
    directory: Option<(DirectoryId, Watch)>,
    companion: Option<(CompanionId, Watch)>,
    begins: Begins,
}

/// When a bell begins to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begins {
    /// With the first look.
    AtOnce,
    /// When somebody has to wait: who finds the lock free claims, and needs no watches.
    WhenTold,
    Told,
}

impl Bell {
    /// One that is heard by [`Bell::rung`].
    pub(super) fn new(listener: Arc<Listener>) -> Self {
        // One message says it all.
        let (tell, rung) = bounded(1);
        let waker = Waker::new(move || tell.try_send(()).is_ok() || !tell.is_empty());
        Self { rung, begins: Begins::AtOnce, ..Self::calling(listener, waker) }
    }

    /// One that calls `waker`, once it was told to begin.
    pub(super) fn calling(listener: Arc<Listener>, waker: Waker) -> Self {
        let begins = Begins::WhenTold;
        Self { listener, waker, rung: never(), directory: None, companion: None, begins }
    }

    /// Begins to listen, with the next look; says whether it did not before.
    pub(super) fn begin(&mut self) -> bool {
        let waited = self.begins == Begins::WhenTold;
        if waited {
            self.begins = Begins::Told;
        }
        waited
    }

    /// Gets a message for all that happened since the last was taken.
    pub(super) fn rung(&self) -> Receiver<()> {
        self.rung.clone()
    }

    /// Listens for changes in the directory `id`, which is open as `directory`. It has to be called
    /// before a look, with what that look has opened: then nothing falls in between.
    pub(super) fn listen_to_directory(&mut self, id: DirectoryId, directory: BorrowedFd<'_>) {
        self.listener.look_after();
        if self.begins == Begins::WhenTold {
            return;
        }
        if self.directory.as_ref().is_some_and(|(known, watch)| *known == id && watch.is_live()) {
            return;
        }
        self.directory = None;
        let watch = self.listener.watch(directory, Target::Directory, &self.waker);
        self.directory = watch.map(|watch| (id, watch));
    }

    /// Listens for the end of the process that has `companion` locked. It has to be called before
    /// that lock is tried.
    pub(super) fn listen_to_companion(&mut self, id: CompanionId, companion: &Arc<File>) {
        if self.companion.as_ref().is_some_and(|(known, watch)| *known == id && watch.is_live()) {
            return;
        }
        self.companion = None;
        let target = Target::Companion(Arc::clone(companion));
        let watch = self.listener.watch(companion.as_fd(), target, &self.waker);
        self.companion = watch.map(|watch| (id, watch));
    }

    /// Listens for nothing, until it is told to again: a leader's own renewals concern nobody here.
    pub(super) fn rest(&mut self) {
        (self.directory, self.companion) = (None, None);
        if self.begins == Begins::Told {
            self.begins = Begins::WhenTold;
        }
    }
}
