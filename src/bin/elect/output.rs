//! What `elect` says: lines on standard error, which may block and must never hold anything up.
//!
//! A thread writes them, which the first line starts; whoever says something only queues it. On a
//! terminal there is one line more, below all others, while `elect` waits. This file must not know
//! what is said.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, after, bounded, never, select};
use log::LevelFilter;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::waiting::{self, Waiting};

/// Lines that wait for a slow reader; more are dropped.
const QUEUE: usize = 256;

/// How long the last lines may take at the end.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long clearing the line may hold COMMAND up.
const PATIENCE_TO_CLEAR: Duration = Duration::from_millis(100);

/// A pipe that has any room has this much.
const PIPE_ROOM: usize = 4096;

/// Between two changes of the line that tells for how long.
const TICK: Duration = Duration::from_secs(1);

/// The way to the thread that writes.
#[derive(Clone, Debug)]
pub struct Output {
    requests: Arc<OnceLock<Sender<Request>>>,
    /// There is a terminal for the line that tells who is waited for.
    shows_waiting: bool,
    /// COMMAND has the terminal.
    lent: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Request {
    Line(Vec<u8>),
    Waiting(Option<Waiting>),
    /// Answer when all that came before is written.
    Flush(Sender<()>),
}

impl Output {
    /// Sends the log there: what is said at all is said by the log.
    pub fn start(verbose: u8, quiet: bool) -> io::Result<Self> {
        let shows_waiting = verbose == 0 && !quiet && waiting::can_be_shown();
        let lent = Arc::new(AtomicBool::new(false));
        let output = Self { requests: Arc::default(), shows_waiting, lent };
        let (command, library) = match (quiet, verbose) {
            (true, _) => (LevelFilter::Error, LevelFilter::Error),
            (false, 0) => (LevelFilter::Info, LevelFilter::Warn),
            (false, 1) => (LevelFilter::Debug, LevelFilter::Debug),
            (false, _) => (LevelFilter::Trace, LevelFilter::Trace),
        };
        let timed = verbose > 0;
        env_logger::Builder::new()
            .filter_level(library)
            .filter_module(env!("CARGO_BIN_NAME"), command)
            .target(env_logger::Target::Pipe(Box::new(Line::new(output.clone()))))
            .format(move |line, record| match timed {
                true => writeln!(line, "elect: {} {}", line.timestamp_millis(), record.args()),
                false => writeln!(line, "elect: {}", record.args()),
            })
            .try_init()
            .map_err(io::Error::other)?;
        Ok(output)
    }

    /// To the thread, which is started where this is the first. A full queue: nobody reads, and
    /// waiting is what must not happen. A system that has no room for a thread may be the very
    /// thing to tell, so then a line is written here.
    fn request(&self, request: Request) -> bool {
        let requests = self.requests.get_or_init(|| {
            let (requests, queue) = bounded(QUEUE);
            let lent = Arc::clone(&self.lent);
            let mut page = Page { last: Vec::new(), waiting: None, lent, drawn: false };
            let writer = std::thread::Builder::new().name("output".into());
            let _ = writer.spawn(move || page.write_all(&queue));
            requests
        });
        match requests.try_send(request) {
            Ok(()) => true,
            Err(TrySendError::Disconnected(Request::Line(line))) => {
                write_without_waiting(&line);
                false
            }
            Err(_) => false,
        }
    }

    /// Waits until all is written, but not long: nobody may be reading.
    pub fn flush(&self) {
        self.wait_for(None);
        self.flush_within(PATIENCE);
    }

    /// A terminal shows from now on who is waited for, and for how long; `None`: nobody.
    pub fn wait_for(&self, leader: Option<Arc<str>>) {
        // Where nothing stands there, there is nothing to take away.
        let is_news = leader.is_some() || self.requests.get().is_some();
        if self.shows_waiting && is_news {
            self.request(Request::Waiting(leader.map(Waiting::new)));
        }
    }

    /// Clears the line and draws none, until COMMAND gives the terminal back.
    pub fn lend_terminal(&self) {
        if self.shows_waiting {
            self.lent.store(true, Ordering::SeqCst);
            self.wait_for(None);
            self.flush_within(PATIENCE_TO_CLEAR);
        }
    }

    /// COMMAND has ended.
    pub fn take_terminal_back(&self) {
        self.lent.store(false, Ordering::SeqCst);
    }

    fn flush_within(&self, patience: Duration) {
        let (done, written) = bounded(1);
        if self.requests.get().is_some() && self.request(Request::Flush(done)) {
            let _ = written.recv_timeout(patience);
        }
    }
}

/// Collects what is written until a line is complete.
struct Line {
    text: Vec<u8>,
    output: Output,
}

impl Line {
    fn new(output: Output) -> Self {
        Self { text: Vec::new(), output }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        if self.text.ends_with(b"\n") {
            let line = std::mem::take(&mut self.text);
            self.output.request(Request::Line(line));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What standard error shows.
struct Page {
    last: Vec<u8>,
    waiting: Option<Waiting>,
    lent: Arc<AtomicBool>,
    /// The line that tells who is waited for stands there.
    drawn: bool,
}

impl Page {
    fn write_all(&mut self, queue: &Receiver<Request>) {
        loop {
            let tick = if self.waiting.is_some() { after(TICK) } else { never() };
            select! {
                recv(queue) -> request => match request {
                    Ok(request) => self.take(request),
                    Err(_) => return,
                },
                recv(tick) -> _ => {}
            }
            // Not between lines that come together.
            if queue.is_empty() {
                self.draw();
            }
        }
    }

    fn take(&mut self, request: Request) {
        match request {
            // A lock that fails says so at every try.
            Request::Line(line) if line == self.last => {}
            Request::Line(line) => {
                self.clear();
                write_bytes(&line);
                self.last = line;
            }
            Request::Waiting(waiting) => {
                self.clear();
                self.waiting = waiting;
            }
            Request::Flush(done) => {
                let _ = done.try_send(());
            }
        }
    }

    fn draw(&mut self) {
        let lent = self.lent.load(Ordering::SeqCst);
        if let Some(line) = self.waiting.as_ref().filter(|_| !lent).and_then(Waiting::line) {
            write_bytes(&line);
            self.drawn = true;
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            write_bytes(waiting::CLEAR);
        }
    }
}

/// Nothing where standard error has no room. So much of a line as a pipe takes that has some.
fn write_without_waiting(line: &[u8]) {
    let stderr = rustix::stdio::stderr();
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut polled = [PollFd::new(&stderr, PollFlags::OUT)];
    if poll(&mut polled, Some(&at_once)).is_ok_and(|ready| ready > 0) {
        let _ = rustix::io::write(stderr, &line[..line.len().min(PIPE_ROOM)]);
    }
}

/// Past the standard library's lock on standard error, which a blocked writer would keep from a
/// panic message.
fn write_bytes(mut line: &[u8]) {
    while !line.is_empty() {
        match rustix::io::write(rustix::stdio::stderr(), line) {
            Ok(written) => line = &line[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => wait_for_room(),
            // Closed, or a full disk: there is nowhere to say it.
            Err(_) => return,
        }
    }
}

/// Somebody else has made standard error non-blocking.
fn wait_for_room() {
    use rustix::event::{PollFd, PollFlags, poll};
    let stderr = rustix::stdio::stderr();
    let _ = poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], None);
}
