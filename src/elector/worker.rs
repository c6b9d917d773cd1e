//! The callback worker: new leaders, events and the log, which are user code and may block for
//! ever.

use std::sync::Arc;
use std::time::Duration;

use crate::callbacks::{ElectionEvent, LeaderCallbacks, OnEvent, OnNewLeader};
use crate::elector::threads::{caught, start};
use crate::error::Error;
use crate::sync::channel::{Receiver, Sender, bounded, unbounded};
use crate::sync::{AtomicU64, Mutex, Ordering};

/// Events that wait while user code is slow; more are dropped and counted.
const QUEUE: u64 = 256;

/// The longest wait for the worker at the end of a run.
const PATIENCE: Duration = Duration::from_millis(250);

/// One election's end of the worker's queue. Nothing here ever waits.
#[derive(Clone)]
pub(super) struct Worker {
    notices: Sender<Notice>,
    listener: Arc<Listener>,
}

/// Where elections get their ends of a worker. It ends when the last of those is gone, and this.
#[derive(Clone)]
pub(super) struct Workshop {
    notices: Sender<Notice>,
    /// For elections to which nothing listens but the log.
    log: Arc<Listener>,
}

enum Notice {
    Event(Arc<Listener>, ElectionEvent),
    /// Answer when all that came before has been told.
    Flush(Sender<()>),
    /// Drop what is the user's in part, which may take any time.
    Drop(Box<dyn Send>),
}

/// Who listens to one election.
#[derive(Default)]
struct Listener {
    on_event: Option<OnEvent>,
    on_new_leader: Option<OnNewLeader>,
    /// The latest leader, until it is told.
    leader: Mutex<Option<Arc<str>>>,
    /// Events that wait.
    waiting: AtomicU64,
    /// Events for which there was no room.
    dropped: AtomicU64,
}

/// Ready when all has been told.
pub(super) struct Told(Option<Receiver<()>>);

impl Told {
    /// Waits, but not for long: who listens may be blocked.
    pub(super) fn wait(&self) {
        if let Some(told) = &self.0 {
            let _ = told.recv_timeout(PATIENCE);
        }
    }
}

impl Workshop {
    /// Starts the thread.
    pub(super) fn start() -> Result<Self, Error> {
        // Each election puts a bound on what of it may wait.
        let (notices, queue) = unbounded();
        start("callbacks", move || serve(&queue))?;
        Ok(Self { notices, log: Arc::default() })
    }

    pub(super) fn worker(&self, callbacks: &LeaderCallbacks, on_event: Option<OnEvent>) -> Worker {
        let on_new_leader = callbacks.new_leader.clone();
        let listener = match (&on_event, &on_new_leader) {
            (None, None) => Arc::clone(&self.log),
            _ => Arc::new(Listener { on_event, on_new_leader, ..Listener::default() }),
        };
        Worker { notices: self.notices.clone(), listener }
    }
}

impl Worker {
    pub(super) fn event(&self, event: ElectionEvent) {
        let listener = &self.listener;
        if !listener.hears(&event) {
            return;
        }
        if listener.waiting.fetch_add(1, Ordering::SeqCst) < QUEUE {
            let _ = self.notices.try_send(Notice::Event(Arc::clone(listener), event));
        } else {
            listener.waiting.fetch_sub(1, Ordering::SeqCst);
            listener.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells of a new leader. One that has not been told yet is replaced, never queued.
    pub(super) fn leader_changed(&self, leader: Option<Arc<str>>) {
        if let (Some(leader), true) = (&leader, self.listener.on_new_leader.is_some()) {
            // Before the event, after which the worker looks. If the queue is full, it looks after
            // each event that waits there.
            *self.listener.leader.lock() = Some(Arc::clone(leader));
        }
        self.event(ElectionEvent::LeaderChanged(leader));
    }

    pub(super) fn flush(&self) -> Told {
        // A full queue means that who listens is blocked; then nobody waits.
        let full = self.listener.waiting.load(Ordering::SeqCst) >= QUEUE;
        Told((!full).then(|| {
            let (done, told) = bounded(1);
            let _ = self.notices.try_send(Notice::Flush(done));
            told
        }))
    }

    /// Drops what is the user's in part, after all that is to be told.
    pub(super) fn drop_later(&self, remains: impl Send + 'static) {
        let _ = self.notices.try_send(Notice::Drop(Box::new(remains)));
    }
}

fn serve(queue: &Receiver<Notice>) {
    for notice in queue.iter() {
        match notice {
            Notice::Event(listener, event) => {
                listener.waiting.fetch_sub(1, Ordering::SeqCst);
                listener.hear(&event);
                // Perhaps the last to have what is the user's.
                guarded(|| drop(listener));
            }
            Notice::Flush(done) => {
                let _ = done.try_send(());
            }
            Notice::Drop(remains) => guarded(|| drop(remains)),
        }
    }
}

impl Listener {
    /// Whether anybody would be told of the event.
    fn hears(&self, event: &ElectionEvent) -> bool {
        let new_leader = matches!(event, ElectionEvent::LeaderChanged(Some(_)));
        self.on_event.is_some()
            || new_leader && self.on_new_leader.is_some()
            || level_of(event) <= log::max_level()
    }

    fn hear(&self, event: &ElectionEvent) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            self.tell(&ElectionEvent::Dropped(dropped));
        }
        self.tell(event);
        self.tell_new_leader();
    }

    fn tell(&self, event: &ElectionEvent) {
        guarded(|| log::log!(level_of(event), "{event}"));
        if let Some(on_event) = &self.on_event {
            guarded(|| on_event(event));
        }
    }

    fn tell_new_leader(&self) {
        // The lock is not held while user code runs.
        let leader = self.leader.lock().take();
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

fn level_of(event: &ElectionEvent) -> log::Level {
    match event {
        ElectionEvent::Renewed { .. } | ElectionEvent::CampaignStarted => log::Level::Debug,
        ElectionEvent::Lost(_) | ElectionEvent::LockFailed(_) | ElectionEvent::Dropped(_) => {
            log::Level::Warn
        }
        ElectionEvent::CallbackPanicked(_) => log::Level::Error,
        _ => log::Level::Info,
    }
}
