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
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// A kind and a number.
const MESSAGE_BYTES: usize = 9;

/// What `elect` tells the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Begin; the message carries COMMAND's standard input.
    Begin,
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
    /// COMMAND was stopped by this signal of the terminal.
    Paused(i32),
    /// COMMAND has ended; processes that it started may be left.
    Exited {
        /// Its exit code, or 128 + N after signal N.
        code: u8,
        /// The guard had told it to end before it did.
        told: bool,
    },
}

/// A message as it crosses the socket.
pub trait Message: Sized {
    /// The kind and the number.
    fn encode(self) -> (u8, u64);
    /// `None` where the kind is unknown.
    fn decode(kind: u8, number: u64) -> Option<Self>;
}

impl Message for Order {
    fn encode(self) -> (u8, u64) {
        match self {
            Order::Begin => (b'B', 0),
            Order::Deadline(nanos) => (b'D', nanos),
            Order::Stop => (b'S', 0),
            Order::Lose => (b'L', 0),
            Order::Continue => (b'C', 0),
        }
    }

    fn decode(kind: u8, number: u64) -> Option<Self> {
        match kind {
            b'B' => Some(Order::Begin),
            b'D' => Some(Order::Deadline(number)),
            b'S' => Some(Order::Stop),
            b'L' => Some(Order::Lose),
            b'C' => Some(Order::Continue),
            _ => None,
        }
    }
}

impl Message for Report {
    fn encode(self) -> (u8, u64) {
        match self {
            Report::Paused(signal) => (b'P', u64::from(signal.unsigned_abs())),
            Report::Exited { code, told: false } => (b'E', u64::from(code)),
            Report::Exited { code, told: true } => (b'T', u64::from(code)),
        }
    }

    fn decode(kind: u8, number: u64) -> Option<Self> {
        match kind {
            b'P' => Some(Report::Paused(number as i32)),
            b'E' => Some(Report::Exited { code: number as u8, told: false }),
            b'T' => Some(Report::Exited { code: number as u8, told: true }),
            _ => None,
        }
    }
}

/// What a look at the socket found.
#[derive(Debug)]
pub enum Received<M> {
    /// A message, with the file that it carried.
    Message(M, Option<File>),
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

/// Sends `message`, with `file` if there is one. Whether it arrived is not known.
pub fn send<M: Message>(
    socket: impl AsFd,
    message: M,
    file: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let (kind, number) = message.encode();
    let mut bytes = [0; MESSAGE_BYTES];
    bytes[0] = kind;
    bytes[1..].copy_from_slice(&number.to_le_bytes());
    let files: Vec<BorrowedFd<'_>> = file.into_iter().collect();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&files));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut ancillary, flags)?;
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
    let mut bytes = [0; MESSAGE_BYTES];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let received = match recvmsg(socket, &mut slices, &mut ancillary, flags) {
        Ok(message) => message.bytes,
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Received::Nothing,
        // Any other error means that no order can come any more, which is what a close means.
        Err(_) => return Received::Closed,
    };
    if received != MESSAGE_BYTES {
        return Received::Closed;
    }
    let number = u64::from_le_bytes(std::array::from_fn(|i| bytes[i + 1]));
    match M::decode(bytes[0], number) {
        Some(message) => Received::Message(message, first_file(&mut ancillary)),
        None => Received::Closed,
    }
}

fn first_file(ancillary: &mut RecvAncillaryBuffer<'_>) -> Option<File> {
    ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut files) => files.next(),
            _ => None,
        })
        .next()
        .map(File::from)
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
        let orders =
            [Order::Begin, Order::Deadline(u64::MAX), Order::Stop, Order::Lose, Order::Continue];
        for order in orders {
            send(&ours, order, None).unwrap();
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
            Report::Paused(20),
            Report::Exited { code: 255, told: false },
            Report::Exited { code: 0, told: true },
        ] {
            send(&theirs, report, None).unwrap();
            let Received::Message(found, _) = try_receive::<Report>(&ours) else {
                panic!("nothing")
            };
            assert_eq!(found, report);
        }
    }

    #[test]
    fn a_file_crosses_the_socket() {
        use std::io::{Read, Seek, Write};
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"hello").unwrap();
        file.rewind().unwrap();
        let (ours, theirs) = pair().unwrap();
        send(&ours, Order::Begin, Some(file.as_fd())).unwrap();
        let Received::Message(Order::Begin, Some(mut copy)) = try_receive(&theirs) else {
            panic!("no file came");
        };
        let mut text = String::new();
        copy.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
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
        let refused = (0..100_000).any(|n| send(&ours, Order::Deadline(n), None).is_err());
        assert!(refused);
    }
}
