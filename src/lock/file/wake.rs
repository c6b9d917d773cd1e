//! Wake-ups: file events of this host, so that a candidate need not wait for its next poll.
//!
//! One inotify instance and one thread serve a whole process: a user has 128 instances by default.
//! The thread is started with the first watch and ends with the last. Where a watch can't be had,
//! or what changes does so on another host, there is no event, and the poll finds it. An event is
//! no more than a reason to look, so one too many does no harm either.
//!
//! The thread looks at one lock itself, if that lock's candidate lets it: to wake another thread
//! takes longer than a look. Should it hang there, whichever lock is looked at next has another
//! thread listen, which does nothing but that.
//!
//! This file must not know what a look finds.

use std::collections::HashMap;
use std::fs::File;
use std::mem::MaybeUninit;
use std::num::NonZeroU64;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{
    CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init, remove_watch,
};
use rustix::io::Errno;

use crate::clock::{Clock, Instant};
use crate::lock::file::companion::{Tried, try_shared};
use crate::lock::file::layout::{Name, parse_name};
use crate::lock::waker::Waker;
use crate::sync::{AtomicBool, Mutex, Ordering, start_thread};

/// A closed file's event comes before its lock is dropped: so often it is tried at once, giving the
/// processor to whoever is about to drop it,
const TRIES_AT_ONCE: u32 = 50;
/// then after this wait, and twice that, and so on,
const FIRST_WAIT: Duration = Duration::from_micros(50);
/// up to this one.
const LONGEST_WAIT: Duration = Duration::from_millis(20);

/// The events of a buffer are delivered together.
const BUFFER_BYTES: usize = 4096;

/// What is listened for.
#[derive(Debug)]
pub(super) enum Target {
    /// A name of a generation that comes up in a lock's directory.
    Directory,
    /// The end of whoever has this file locked.
    Companion(Arc<File>),
}

/// A thread that has looked at a lock for so long hangs there: another one listens.
const PATIENCE: Duration = Duration::from_millis(10);

/// Watches files for a process, as long as any is to be watched.
pub(super) struct Listener {
    open: fn() -> Result<OwnedFd, Errno>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    instance: Option<Instance>,
    /// Tells threads apart: the last one that was started listens.
    threads: u64,
    /// Since when that looks at a lock.
    away_since: Option<Instant>,
    /// Threads before it that still look at one.
    hung: usize,
}

struct Instance {
    inotify: Arc<OwnedFd>,
    ears: HashMap<i32, Vec<Arc<Ear>>>,
    /// Watches that are being added: their numbers may be those of watches that are there.
    adding: usize,
    has_thread: bool,
}

/// Who listens.
struct Ear {
    target: Target,
    waker: Waker,
    /// Events may still come.
    live: AtomicBool,
}

impl Ear {
    fn ring(&self) {
        // Whoever does not listen any more drops the watch.
        let _ = self.waker.wake();
    }
}

/// A watch, until it is dropped.
pub(super) struct Watch {
    listener: Arc<Listener>,
    number: i32,
    ear: Arc<Ear>,
}

impl Watch {
    /// Whether events may still come: not once what was watched has been removed or moved.
    pub(super) fn is_live(&self) -> bool {
        self.ear.live.load(Ordering::Acquire)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.listener.remove(self.number, &self.ear);
    }
}

static OF_PROCESS: LazyLock<Arc<Listener>> = LazyLock::new(|| {
    Arc::new(Listener::new(|| init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)))
});

impl Listener {
    pub(super) fn of_process() -> Arc<Self> {
        Arc::clone(&OF_PROCESS)
    }

    /// One whose instance of inotify comes from `open`.
    pub(super) fn new(open: fn() -> Result<OwnedFd, Errno>) -> Self {
        Self { open, state: Mutex::default() }
    }

    /// Watches what `file` is opened on. Whoever looks after this has returned misses no change
    /// that comes later. `None` where it can't be watched.
    pub(super) fn watch(
        self: &Arc<Self>,
        file: BorrowedFd<'_>,
        target: Target,
        waker: &Waker,
    ) -> Option<Watch> {
        let flags = match target {
            Target::Directory => {
                WatchFlags::CREATE
                    | WatchFlags::MOVED_TO
                    | WatchFlags::DELETE_SELF
                    | WatchFlags::MOVE_SELF
            }
            Target::Companion(_) => WatchFlags::CLOSE_WRITE,
        };
        let inotify = self.begin_adding().ok()?;
        // Not under the mutex: a call on a hung file system must not hold up other locks.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let number = add_watch(&inotify, path, flags);
        let ear = Arc::new(Ear { target, waker: waker.clone(), live: AtomicBool::new(true) });
        let number = self.end_adding(number.ok(), &ear)?;
        Some(Watch { listener: Arc::clone(self), number, ear })
    }

    /// Whether there is neither an instance nor a thread.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.state.lock().instance.is_none()
    }

    fn begin_adding(&self) -> Result<Arc<OwnedFd>, Errno> {
        let mut state = self.state.lock();
        let instance = match &mut state.instance {
            Some(instance) => instance,
            none => none.insert(Instance {
                inotify: Arc::new((self.open)()?),
                ears: HashMap::new(),
                adding: 0,
                has_thread: false,
            }),
        };
        instance.adding += 1;
        Ok(Arc::clone(&instance.inotify))
    }

    fn end_adding(self: &Arc<Self>, number: Option<i32>, ear: &Arc<Ear>) -> Option<i32> {
        let mut state = self.state.lock();
        let State { instance: slot, threads, away_since, .. } = &mut *state;
        let instance = slot.as_mut()?;
        instance.adding -= 1;
        if let Some(number) = number {
            instance.ears.entry(number).or_default().push(Arc::clone(ear));
            if !instance.has_thread {
                (*threads, *away_since) = (*threads + 1, None);
                instance.has_thread = self.start_thread(&instance.inotify, *threads, Vec::new());
            }
        }
        let watched = number.filter(|_| instance.has_thread);
        if let (Some(number), None) = (number, watched) {
            // Nobody else would take it away.
            instance.forget_ear(number, ear);
        }
        instance.forget_unheard();
        if !instance.has_thread && instance.adding == 0 {
            *slot = None;
        }
        watched
    }

    /// Sees to it that somebody listens. Whoever looks at a lock calls it.
    pub(super) fn look_after(self: &Arc<Self>) {
        let mut state = self.state.lock();
        let State { instance, threads, away_since, hung } = &mut *state;
        let (Some(instance), Some(since)) = (instance, *away_since) else { return };
        if Clock::system().now().since(since) < PATIENCE {
            return;
        }
        // It may have been about to see the end of any of those.
        let companions = |ear: &&Arc<Ear>| matches!(ear.target, Target::Companion(_));
        let ears = instance.ears.values().flatten().filter(companions).cloned().collect();
        if self.start_thread(&instance.inotify, *threads + 1, ears) {
            (*threads, *away_since, *hung) = (*threads + 1, None, *hung + 1);
        }
    }

    fn start_thread(
        self: &Arc<Self>,
        inotify: &Arc<OwnedFd>,
        number: u64,
        closed: Vec<Arc<Ear>>,
    ) -> bool {
        let (listener, inotify) = (Arc::clone(self), Arc::clone(inotify));
        let listen = move || listener.listen(&inotify, number, closed);
        start_thread("file-events".into(), listen).is_ok()
    }

    fn remove(&self, number: i32, ear: &Arc<Ear>) {
        let mut state = self.state.lock();
        let Some(instance) = &mut state.instance else { return };
        if instance.forget_ear(number, ear) {
            instance.forget_unheard();
        }
    }

    fn listen(&self, inotify: &OwnedFd, number: u64, closed: Vec<Arc<Ear>>) {
        be_precise(true);
        let clock = Clock::system();
        let begin = |ear| Closed::new(ear, clock.now());
        let mut closed: Vec<_> = closed.into_iter().map(begin).collect();
        let mut due: Vec<Arc<Ear>> = Vec::new();
        loop {
            wait(inotify, &closed, &clock);
            for ear in self.take_events(inotify) {
                match &ear.target {
                    Target::Companion(_) if ear.live.load(Ordering::Acquire) => {
                        closed.push(Closed::new(ear, clock.now()));
                    }
                    _ => due.push(ear),
                }
            }
            closed.retain_mut(|closed| {
                let locked = closed.is_still_locked(clock.now());
                due.extend((!locked).then(|| Arc::clone(&closed.ear)));
                locked
            });
            // That may start threads for the user's code and, by those, processes.
            be_precise(false);
            let listens = self.ring(&mut due, number, &clock);
            be_precise(true);
            if !listens || self.is_over(number) {
                return;
            }
        }
    }

    /// Rings those that are due, and looks at the lock of the last one itself. Says whether this
    /// thread still is the one that listens.
    fn ring(&self, due: &mut Vec<Arc<Ear>>, number: u64, clock: &Clock) -> bool {
        let Some(last) = due.pop() else { return true };
        due.retain(|ear| !ear.waker.is(&last.waker));
        due.drain(..).for_each(|ear| ear.ring());
        if self.state.lock().hung > 0 {
            last.ring();
            return true;
        }
        let Some(chore) = last.waker.wake_here() else { return true };
        drop(last);
        self.state.lock().away_since = Some(clock.now());
        chore();
        let mut state = self.state.lock();
        let listens = state.threads == number;
        match listens {
            true => state.away_since = None,
            false => state.hung -= 1,
        }
        listens
    }

    /// Who is to hear of what has happened.
    fn take_events(&self, inotify: &OwnedFd) -> Vec<Arc<Ear>> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut reader = Reader::new(inotify, &mut buffer);
        let mut heard = Vec::new();
        let mut state = self.state.lock();
        let Some(instance) = &mut state.instance else { return heard };
        // One buffer at most, so that the ears are not kept waiting.
        while let Ok(event) = reader.next() {
            let name = event.file_name().map(|name| name.to_bytes());
            instance.hear(event.wd(), event.events(), name, &mut heard);
            if reader.is_buffer_empty() {
                break;
            }
        }
        heard
    }

    fn is_over(&self, number: u64) -> bool {
        let mut state = self.state.lock();
        if state.threads != number {
            return true;
        }
        let idle = state.instance.as_ref().is_none_or(|instance| {
            instance.adding == 0 && instance.ears.values().all(Vec::is_empty)
        });
        if idle {
            state.instance = None;
        }
        idle
    }
}

impl Instance {
    /// Says whether it was the last one there.
    fn forget_ear(&mut self, number: i32, ear: &Arc<Ear>) -> bool {
        self.ears.get_mut(&number).is_some_and(|ears| {
            ears.retain(|other| !Arc::ptr_eq(other, ear));
            ears.is_empty()
        })
    }

    /// Ends the watches that nobody needs. One that is being added may turn out to have the number
    /// of any of them, so then they are kept.
    fn forget_unheard(&mut self) {
        if self.adding > 0 {
            return;
        }
        let inotify = &self.inotify;
        self.ears.retain(|&number, ears| {
            if ears.is_empty() {
                // Its last event wakes the thread, which ends if this was the last watch.
                let _ = remove_watch(inotify, number);
            }
            !ears.is_empty()
        });
    }

    fn hear(
        &mut self,
        number: i32,
        events: ReadFlags,
        name: Option<&[u8]>,
        heard: &mut Vec<Arc<Ear>>,
    ) {
        let lost =
            ReadFlags::IGNORED | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT;
        if events.contains(ReadFlags::QUEUE_OVERFLOW) {
            heard.extend(self.ears.values().flatten().cloned());
        } else if events.intersects(lost) {
            let ears = self.ears.get(&number).map_or(&[][..], Vec::as_slice);
            for ear in ears {
                ear.live.store(false, Ordering::Release);
                heard.push(Arc::clone(ear));
            }
            if events.contains(ReadFlags::IGNORED) {
                self.ears.remove(&number);
            }
        } else if name.is_none_or(|name| matches!(parse_name(name), Name::Generation(_))) {
            heard.extend(self.ears.get(&number).into_iter().flatten().cloned());
        }
    }
}

/// A companion that was closed and whose lock is about to be dropped.
struct Closed {
    ear: Arc<Ear>,
    try_at: Instant,
    wait: Duration,
}

impl Closed {
    fn new(ear: Arc<Ear>, now: Instant) -> Self {
        Self { ear, try_at: now, wait: FIRST_WAIT }
    }

    /// Until the lock is free, or it is no use to wait for that any more.
    fn is_still_locked(&mut self, now: Instant) -> bool {
        if now < self.try_at {
            return true;
        }
        let tries = if self.wait == FIRST_WAIT { TRIES_AT_ONCE } else { 1 };
        if self.is_free(tries) || self.wait > LONGEST_WAIT {
            return false;
        }
        self.try_at = now + self.wait;
        self.wait *= 2;
        true
    }

    fn is_free(&self, tries: u32) -> bool {
        let Target::Companion(file) = &self.ear.target else { return true };
        (0..tries).any(|_| {
            let free = try_shared(file) != Tried::Busy;
            if !free {
                std::thread::yield_now();
            }
            free
        })
    }
}

/// Whether waits of this thread end on time, and those of threads and processes that it starts. The
/// retries are shorter than what the system may add to a wait by default.
fn be_precise(precise: bool) {
    let _ = rustix::thread::set_current_timer_slack(precise.then_some(NonZeroU64::MIN));
}

/// Until something happens, or a lock is to be tried again.
fn wait(inotify: &OwnedFd, closed: &[Closed], clock: &Clock) {
    let next = closed.iter().map(|closed| closed.try_at).min();
    let timeout = next.map(|at| at.since(clock.now())).map(|span| Timespec {
        tv_sec: span.as_secs() as i64,
        tv_nsec: span.subsec_nanos().into(),
    });
    // Interrupted or failed: what there is to do is looked for anyway.
    let _ = poll(&mut [PollFd::new(inotify, PollFlags::IN)], timeout.as_ref());
}
