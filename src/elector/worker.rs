//! The callback worker: new leaders, events and the log, which are user code and may block for
//! ever.

use std::sync::Arc;
use std::time::Duration;

use crate::callbacks::{ElectionEvent, LeaderCallbacks, OnEvent, OnNewLeader};
use crate::elector::threads::{caught, start};
use crate::error::Error;
use crate::sync::channel::{Receiver, Sender, bounded};
use crate::sync::{AtomicU64, Mutex, Ordering};

/// Events that wait while user code is slow; more are dropped and counted.
const QUEUE: usize = 256;

/// The longest wait for the worker at the end of a run.
const PATIENCE: Duration = Duration::from_millis(250);

/// The election thread's end of the worker's queue. Nothing here ever waits.
#[derive(Clone)]
pub(super) struct Worker {
    notices: Sender<Notice>,
    untold: Arc<Untold>,
}

enum Notice {
    Event(ElectionEvent),
    /// Answer when all that came before has been told.
    Flush(Sender<()>),
}

/// What is told beside the queue.
#[derive(Default)]
struct Untold {
    leader: Mutex<Option<Arc<str>>>,
    /// Events that the queue had no room for.
    dropped: AtomicU64,
}

/// Ready when all has been told.
pub(super) struct Told(Receiver<()>);

impl Told {
    /// Waits, but not for long: who listens may be blocked.
    pub(super) fn wait(&self) {
        let _ = self.0.recv_timeout(PATIENCE);
    }
}

impl Worker {
    /// Starts the thread. It ends when nobody can tell it anything any more.
    pub(super) fn start(
        callbacks: &LeaderCallbacks,
        on_event: Option<OnEvent>,
    ) -> Result<Self, Error> {
        let (notices, queue) = bounded(QUEUE);
        let untold = Arc::<Untold>::default();
        let listener = Listener {
            on_event,
            on_new_leader: callbacks.new_leader.clone(),
            untold: Arc::clone(&untold),
        };
        start("callbacks", move || listener.serve(&queue))?;
        Ok(Self { notices, untold })
    }

    pub(super) fn event(&self, event: ElectionEvent) {
        if self.notices.try_send(Notice::Event(event)).is_err() {
            self.untold.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells of a new leader. One that has not been told yet is replaced, never queued.
    pub(super) fn leader_changed(&self, leader: Option<Arc<str>>) {
        if let Some(leader) = &leader {
            // Before the event, after which the worker looks. If the queue is full, it looks after
            // each event that waits there.
            *self.untold.leader.lock() = Some(Arc::clone(leader));
        }
        self.event(ElectionEvent::LeaderChanged(leader));
    }

    pub(super) fn flush(&self) -> Told {
        let (done, told) = bounded(1);
        // A full queue means that who listens is blocked; then nobody waits.
        let _ = self.notices.try_send(Notice::Flush(done));
        Told(told)
    }
}

struct Listener {
    on_event: Option<OnEvent>,
    on_new_leader: Option<OnNewLeader>,
    untold: Arc<Untold>,
}

impl Listener {
    fn serve(&self, queue: &Receiver<Notice>) {
        for notice in queue.iter() {
            let dropped = self.untold.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                self.tell(&ElectionEvent::Dropped(dropped));
            }
            if let Notice::Event(event) = &notice {
                self.tell(event);
            }
            self.tell_new_leader();
            if let Notice::Flush(done) = notice {
                let _ = done.try_send(());
            }
        }
    }

    fn tell(&self, event: &ElectionEvent) {
        guarded(|| log_event(event));
        if let Some(on_event) = &self.on_event {
            guarded(|| on_event(event));
        }
    }

    fn tell_new_leader(&self) {
        // The lock is not held while user code runs.
        let leader = self.untold.leader.lock().take();
        if let (Some(leader), Some(on_new_leader)) = (leader, &self.on_new_leader) {
            guarded(|| on_new_leader(&leader));
        }
    }
}

fn guarded(call: impl FnOnce()) {
    if let Err(text) = caught(call) {
        // The logger is user code too: perhaps it was the one that panicked.
        let _ = caught(|| log::error!("a callback panicked: {text}"));
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
