//! What `elect` says: lines on standard error, which may block and must never hold anything up.
//!
//! A thread writes them; whoever says something only queues it. This file must not know what is
//! said.

use std::io::{self, Write};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use log::LevelFilter;

/// Lines that wait for a slow reader; more are dropped.
const QUEUE: usize = 256;

/// How long the last lines may take at the end.
const PATIENCE: Duration = Duration::from_millis(500);

/// The way to the thread that writes.
#[derive(Clone, Debug)]
pub struct Output(Sender<Request>);

#[derive(Debug)]
enum Request {
    Line(Vec<u8>),
    /// Answer when all that came before is written.
    Flush(Sender<()>),
}

impl Output {
    /// Starts the thread, and sends the log there: what is said at all is said by the log.
    pub fn start(verbose: u8, quiet: bool) -> io::Result<Self> {
        let (requests, queue) = bounded(QUEUE);
        std::thread::Builder::new().name("output".into()).spawn(move || write_all(&queue))?;
        let output = Self(requests);
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

    /// Waits until all is written, but not long: nobody may be reading.
    pub fn flush(&self) {
        let (done, written) = bounded(1);
        if self.0.try_send(Request::Flush(done)).is_ok() {
            let _ = written.recv_timeout(PATIENCE);
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
            // A full queue: nobody reads, and waiting is what must not happen.
            let _ = self.output.0.try_send(Request::Line(line));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A line that repeats the one before it is left out: a lock that fails says so at every try.
fn write_all(queue: &Receiver<Request>) {
    let mut last = Vec::new();
    for request in queue {
        match request {
            Request::Line(line) if line == last => {}
            Request::Line(line) => {
                write_line(&line);
                last = line;
            }
            Request::Flush(done) => {
                let _ = done.try_send(());
            }
        }
    }
}

/// Past the standard library's lock on standard error, which a blocked writer would keep from a
/// panic message.
fn write_line(mut line: &[u8]) {
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
