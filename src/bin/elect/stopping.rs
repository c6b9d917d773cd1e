//! The signals to `elect` itself: the first that ends it, and each that continues it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGCHLD, SIGCONT};
use signal_hook::iterator::Signals;

use crate::signals;

/// What the signals to this process say.
#[derive(Clone, Debug)]
pub struct Stopping {
    /// Disconnects when a signal tells `elect` to end.
    pub stop: Receiver<()>,
    /// A message for each SIGCONT.
    pub continued: Receiver<()>,
    first: Arc<AtomicI32>,
}

impl Stopping {
    /// Listens from now on.
    pub fn listen() -> io::Result<Self> {
        let mut heeded = signals::heeded();
        // Whoever started this process may ignore SIGCHLD, and then nobody could wait for a child.
        heeded.extend([SIGCHLD, SIGCONT]);
        let mut arrivals = Signals::new(heeded)?;
        // Room, so that an elector need not wait at this end to be handed something.
        let (stop_sender, stop) = bounded(1);
        let (continued_sender, continued) = bounded(1);
        let first = Arc::new(AtomicI32::new(0));
        let noted = Arc::clone(&first);
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            let mut stop_sender: Option<crossbeam_channel::Sender<()>> = Some(stop_sender);
            for signal in arrivals.forever() {
                match signal {
                    SIGCHLD => {}
                    SIGCONT => {
                        let _ = continued_sender.try_send(());
                    }
                    _ if stop_sender.is_some() => {
                        noted.store(signal, Ordering::SeqCst);
                        stop_sender = None;
                    }
                    _ => {}
                }
            }
        })?;
        Ok(Self { stop, continued, first })
    }

    /// The signal that told `elect` to end.
    pub fn signal(&self) -> Option<i32> {
        Some(self.first.load(Ordering::SeqCst)).filter(|signal| *signal != 0)
    }
}
