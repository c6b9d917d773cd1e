//! The callback worker: new leaders, events and the log, which are user code and may block for
//! ever.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use parking_lot::Mutex;

use crate::callbacks::{ElectionEvent, LeaderCallbacks, OnEvent, OnNewLeader};
use crate::elector::threads::{panic_text, start};
use crate::error::Error;

/// Events that wait while user code is slow; more are dropped and counted.
const QUEUE: usize = 256;

/// The election thread's end of the worker's queues. Nothing here ever waits.
#[derive(Clone)]
pub(super) struct Worker {
    notices: Sender<Notice>,
    latest: Arc<Mutex<Option<Arc<str>>>>,
    leader_changed: Sender<()>,
    dropped: Arc<AtomicU64>,
}

enum Notice {
    Event(ElectionEvent),
    /// Answer when all that came before has been told.
    Flush(Sender<()>),
}

impl Worker {
    /// Starts the thread. It ends when nobody can tell it anything any more.
    pub(super) fn start(
        callbacks: &LeaderCallbacks,
        on_event: Option<OnEvent>,
    ) -> Result<Self, Error> {
        let (notices, notice_queue) = bounded(QUEUE);
        let (leader_changed, changes) = bounded(1);
        let worker =
            Self { notices, latest: Arc::default(), leader_changed, dropped: Arc::default() };
        let listener = Listener {
            on_event,
            on_new_leader: callbacks.new_leader.clone(),
            latest: Arc::clone(&worker.latest),
            dropped: Arc::clone(&worker.dropped),
        };
        start("callbacks", move || listener.serve(&notice_queue, &changes))?;
        Ok(worker)
    }

    pub(super) fn event(&self, event: ElectionEvent) {
        if self.notices.try_send(Notice::Event(event)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells of a new leader. One that has not been told yet is replaced, never queued.
    pub(super) fn leader(&self, leader: Arc<str>) {
        *self.latest.lock() = Some(leader);
        // Full means that the worker is about to look anyway.
        let _ = self.leader_changed.try_send(());
    }

    /// Waits until all has been told, but not for long: who listens may be blocked.
    pub(super) fn flush(&self, patience: Duration) {
        let (done, told) = bounded(1);
        if self.notices.try_send(Notice::Flush(done)).is_ok() {
            let _ = told.recv_timeout(patience);
        }
    }
}

struct Listener {
    on_event: Option<OnEvent>,
    on_new_leader: Option<OnNewLeader>,
    latest: Arc<Mutex<Option<Arc<str>>>>,
    dropped: Arc<AtomicU64>,
}

impl Listener {
    fn serve(&self, notices: &Receiver<Notice>, leader_changes: &Receiver<()>) {
        loop {
            select! {
                recv(notices) -> notice => match notice {
                    Ok(Notice::Event(event)) => self.tell(&event),
                    Ok(Notice::Flush(done)) => {
                        self.tell_new_leader();
                        let _ = done.try_send(());
                    }
                    Err(_) => return,
                },
                recv(leader_changes) -> change => match change {
                    Ok(()) => self.tell_new_leader(),
                    Err(_) => return,
                },
            }
        }
    }

    fn tell(&self, event: &ElectionEvent) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            self.tell_one(&ElectionEvent::Dropped(dropped));
        }
        self.tell_one(event);
    }

    fn tell_one(&self, event: &ElectionEvent) {
        self.guarded(|| log_event(event));
        if let Some(on_event) = &self.on_event {
            self.guarded(|| on_event(event));
        }
    }

    fn tell_new_leader(&self) {
        // The lock is not held while user code runs.
        let leader = self.latest.lock().take();
        if let (Some(leader), Some(on_new_leader)) = (leader, &self.on_new_leader) {
            self.guarded(|| on_new_leader(&leader));
        }
    }

    fn guarded(&self, call: impl FnOnce()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(call)) {
            log::error!("a callback panicked: {}", panic_text(&*panic));
        }
    }
}

fn log_event(event: &ElectionEvent) {
    let level = match event {
        ElectionEvent::Renewed { .. } | ElectionEvent::CampaignStarted => log::Level::Debug,
        ElectionEvent::Lost(_) | ElectionEvent::LockFailed(_) | ElectionEvent::Dropped(_) => {
            log::Level::Warn
        }
        ElectionEvent::CallbackPanicked(_) => log::Level::Error,
        _ => log::Level::Info,
    };
    log::log!(level, "{event}");
}
