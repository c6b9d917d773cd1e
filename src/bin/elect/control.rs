//! What `elect` and its guard tell each other, and the socket that carries it.
//!
//! The socket keeps message boundaries and shows when the other side is gone. Nothing here ever
//! waits: a message that finds the buffer full is dropped, so a frozen guard can't hold up `elect`,
//! nor a frozen `elect` its guard. A deadline that is dropped means that an older, safer one holds.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};

/// A kind and two numbers.
const MESSAGE_BYTES: usize = 17;

/// So many bytes of text can follow: the longest path that the system knows, and a name.
const TEXT_BYTES: usize = 4096 + 256;

/// So many files a message can carry.
const FILES: usize = 2;

/// What `elect` tells the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The term has begun. The message carries the names for COMMAND, its standard input, and after
    /// that the companion's descriptor where there is one.
    Begin {
        /// The term is valid until this instant, in nanoseconds of the boot clock.
        deadline: u64,
        /// Its fencing token.
        token: u64,
    },
    /// The term is now valid until this instant, in nanoseconds of the boot clock.
    Deadline(u64),
    /// End COMMAND on purpose: the term is still valid.
    Stop,
    /// The leadership is lost: end COMMAND within the loss grace.
    Lose,
    /// Let COMMAND, which a key or a terminal access had stopped, go on.
    Continue,
}

/// What the guard tells `elect`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// COMMAND was started. Comes with the first renewal, so that it costs a short term nothing.
    Began,
    /// COMMAND was stopped by this signal of the terminal.
    Paused(i32),
    /// COMMAND has ended; processes that it started may be left.
    Exited {
        /// Its exit code, or 128 + N after signal N.
        code: u8,
        /// The guard had told it to end before it did.
        told: bool,
    },
    /// COMMAND has ended with this code, and of all that it started nothing is left. The last word
    /// of a guard.
    NothingLeft(u8),
}

/// A message as it crosses the socket.
pub trait Message: Sized {
    /// The kind and the numbers.
    fn encode(self) -> (u8, [u64; 2]);
    /// `None` where the kind is unknown.
    fn decode(kind: u8, numbers: [u64; 2]) -> Option<Self>;
}

impl Message for Order {
    fn encode(self) -> (u8, [u64; 2]) {
        match self {
            Order::Begin { deadline, token } => (b'B', [deadline, token]),
            Order::Deadline(nanos) => (b'D', [nanos, 0]),
            Order::Stop => (b'S', [0; 2]),
            Order::Lose => (b'L', [0; 2]),
            Order::Continue => (b'C', [0; 2]),
        }
    }

    fn decode(kind: u8, [number, second]: [u64; 2]) -> Option<Self> {
        match kind {
            b'B' => Some(Order::Begin { deadline: number, token: second }),
            b'D' => Some(Order::Deadline(number)),
            b'S' => Some(Order::Stop),
            b'L' => Some(Order::Lose),
            b'C' => Some(Order::Continue),
            _ => None,
        }
    }
}

impl Message for Report {
    fn encode(self) -> (u8, [u64; 2]) {
        match self {
            Report::Began => (b'B', [0; 2]),
            Report::Paused(signal) => (b'P', [u64::from(signal.unsigned_abs()), 0]),
            Report::Exited { code, told } => (b'E', [u64::from(code), u64::from(told)]),
            Report::NothingLeft(code) => (b'N', [u64::from(code), 0]),
        }
    }

    fn decode(kind: u8, [number, second]: [u64; 2]) -> Option<Self> {
        match kind {
            b'B' => Some(Report::Began),
            b'P' => Some(Report::Paused(number as i32)),
            b'E' => Some(Report::Exited { code: number as u8, told: second != 0 }),
            b'N' => Some(Report::NothingLeft(number as u8)),
            _ => None,
        }
    }
}

/// What came with a message.
#[derive(Debug)]
pub struct Cargo {
    /// Arbitrary bytes.
    pub text: Vec<u8>,
    /// Open files, closed on exec.
    pub files: Vec<File>,
    /// All that was sent has come. A file is lost where this process may open no more.
    pub is_whole: bool,
}

/// What a look at the socket found.
#[derive(Debug)]
pub enum Received<M> {
    /// A message, with what it carried.
    Message(M, Cargo),
    /// Nothing for now.
    Nothing,
    /// The other side is gone.
    Closed,
}

/// Two connected sockets, the first for `elect` and the second for its guard.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Sends `message`. Whether it arrived is not known.
pub fn send(socket: impl AsFd, message: impl Message) -> io::Result<()> {
    send_with(socket, message, &[], &[])
}

/// Sends `message` with what it carries.
pub fn send_with(
    socket: impl AsFd,
    message: impl Message,
    text: &[u8],
    files: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let (kind, [number, second]) = message.encode();
    let mut bytes = [0; MESSAGE_BYTES];
    bytes[0] = kind;
    bytes[1..9].copy_from_slice(&number.to_le_bytes());
    bytes[9..].copy_from_slice(&second.to_le_bytes());
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(FILES))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(files));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(socket, &[IoSlice::new(&bytes), IoSlice::new(text)], &mut ancillary, flags)?;
    Ok(())
}

/// The next message, without waiting for it.
pub fn try_receive<M: Message>(socket: impl AsFd) -> Received<M> {
    receive_with(socket, RecvFlags::DONTWAIT)
}

/// The next message, however long it takes. For a thread that does nothing else.
pub fn receive<M: Message>(socket: impl AsFd) -> Received<M> {
    receive_with(socket, RecvFlags::empty())
}

fn receive_with<M: Message>(socket: impl AsFd, flags: RecvFlags) -> Received<M> {
    let mut bytes = [0; MESSAGE_BYTES + TEXT_BYTES];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(FILES))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let (received, is_whole) = match recvmsg(socket, &mut slices, &mut ancillary, flags) {
        Ok(message) => {
            (message.bytes, !message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC))
        }
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Received::Nothing,
        // Any other error means that no order can come any more, which is what a close means.
        Err(_) => return Received::Closed,
    };
    if received < MESSAGE_BYTES {
        return Received::Closed;
    }
    let text = bytes[MESSAGE_BYTES..received].to_vec();
    let number = |first| u64::from_le_bytes(std::array::from_fn(|i| bytes[first + i]));
    match M::decode(bytes[0], [number(1), number(9)]) {
        Some(message) => {
            Received::Message(message, Cargo { text, files: files(&mut ancillary), is_whole })
        }
        None => Received::Closed,
    }
}

fn files(ancillary: &mut RecvAncillaryBuffer<'_>) -> Vec<File> {
    ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(files) => Some(files),
            _ => None,
        })
        .flatten()
        .map(File::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &OwnedFd) -> Option<Order> {
        match try_receive(socket) {
            Received::Message(order, _) => Some(order),
            _ => None,
        }
    }

    #[test]
    fn every_order_arrives_as_it_was_sent() {
        let (ours, theirs) = pair().unwrap();
        let orders = [
            Order::Begin { deadline: u64::MAX - 1, token: u64::MAX },
            Order::Deadline(u64::MAX),
            Order::Stop,
            Order::Lose,
            Order::Continue,
        ];
        for order in orders {
            send(&ours, order).unwrap();
        }
        for order in orders {
            assert_eq!(received(&theirs), Some(order));
        }
        assert_eq!(received(&theirs), None);
    }

    #[test]
    fn every_report_arrives_as_it_was_sent() {
        let (ours, theirs) = pair().unwrap();
        for report in [
            Report::Began,
            Report::Paused(20),
            Report::Exited { code: 255, told: false },
            Report::Exited { code: 0, told: true },
            Report::NothingLeft(255),
        ] {
            send(&theirs, report).unwrap();
            let Received::Message(found, _) = try_receive::<Report>(&ours) else {
                panic!("nothing")
            };
            assert_eq!(found, report);
        }
    }

    #[test]
    fn a_name_and_files_in_their_order_cross_the_socket() {
        use std::io::{Read, Seek, Write};
        let texts = ["hello", "there"];
        let made = texts.map(|text| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file.rewind().unwrap();
            file
        });
        let (ours, theirs) = pair().unwrap();
        let begin = Order::Begin { deadline: 1, token: 2 };
        let name = [b'n'; 255];
        send_with(&ours, begin, &name, &[made[0].as_fd(), made[1].as_fd()]).unwrap();
        let Received::Message(Order::Begin { .. }, cargo) = try_receive(&theirs) else {
            panic!("nothing came");
        };
        assert_eq!(cargo.text, name);
        let read = |mut copy: File| {
            let mut text = String::new();
            copy.read_to_string(&mut text).unwrap();
            text
        };
        assert_eq!(cargo.files.into_iter().map(read).collect::<Vec<_>>(), texts);
    }

    #[test]
    fn a_closed_side_and_nonsense_read_as_closed() {
        let (ours, theirs) = pair().unwrap();
        rustix::io::write(&ours, b"?").unwrap();
        assert!(matches!(try_receive::<Order>(&theirs), Received::Closed));
        drop(ours);
        assert!(matches!(try_receive::<Order>(&theirs), Received::Closed));
    }

    #[test]
    fn a_full_socket_refuses_and_does_not_wait() {
        let (ours, _theirs) = pair().unwrap();
        let refused = (0..100_000).any(|n| send(&ours, Order::Deadline(n)).is_err());
        assert!(refused);
    }
}
