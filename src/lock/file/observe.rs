//! Observe: find the head of the log and read it.

use crate::clock::Instant;
use crate::lock::file::entry::{Decoded, Entry, Text, checksum, decode};
use crate::lock::file::step::{DirectoryId, Fault, FaultKind, Next, Op, Reply, Step};
use crate::record::RecordKind;

/// A listing that is older than this is made again, though nothing seems to have changed.
const LISTING_TTL: std::time::Duration = std::time::Duration::from_secs(10);

/// How often a head that was swept between the listing and its reading is looked for again.
const TRIES: u8 = 4;

/// The head as it was seen last.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Head {
    /// The directory in which it was seen.
    pub directory: DirectoryId,
    /// Its generation: the highest in the listing.
    pub generation: u64,
    /// What stands there; `None` where it is not a symbolic link.
    pub text: Option<Text>,
    /// What the text says.
    pub content: Content,
    /// An instant after the read that showed it.
    pub read_at: Instant,
    /// An instant before the listing that showed it.
    pub listed_at: Instant,
}

/// What the head says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// A record. A release that is not honoured reads as held: its lease is waited for.
    Entry(Box<Entry>),
    /// Nothing readable, and why.
    Corrupt(String),
}

impl Head {
    /// Whether nothing can be read there.
    pub fn is_corrupt(&self) -> bool {
        matches!(self.content, Content::Corrupt(_))
    }

    /// Tells two contents of one generation apart.
    pub fn nonce(&self) -> u64 {
        match (&self.content, &self.text) {
            (Content::Entry(entry), _) => entry.nonce,
            (Content::Corrupt(_), Some(text)) => u64::from(checksum(text)),
            (Content::Corrupt(_), None) => u64::MAX,
        }
    }
}

/// What observing found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sight {
    /// No directory, or one without a generation.
    Nothing,
    /// The head that was known still stands.
    Unchanged,
    /// A head.
    Head(Box<Head>),
}

/// The step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Observe {
    /// The head that is known.
    known: Option<(DirectoryId, u64)>,
    /// A listing made before this is too old.
    listed_at: Option<Instant>,
    first_contact: bool,
    at: At,
    directory: DirectoryId,
    listing_began: Instant,
    tries: u8,
    /// The highest generation that was seen to stand there.
    highest: u64,
    head: Option<Box<Head>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    Begin,
    Opening,
    PeekingNext,
    Listing,
    ReadingHead(u64),
    ReadingBelow,
}

impl Observe {
    /// Looks for what follows `known`, or for the head if that is `None` or was listed long ago.
    pub fn new(known: Option<&Head>, first_contact: bool) -> Self {
        Self {
            known: known.map(|head| (head.directory, head.generation)),
            listed_at: known.map(|head| head.listed_at),
            first_contact,
            at: At::Begin,
            directory: DirectoryId { device: 0, inode: 0 },
            listing_began: Instant::default(),
            tries: 0,
            highest: 0,
            head: None,
        }
    }

    /// The directory that was opened, and the highest generation that was seen to stand in it,
    /// whatever came out: a generation that could not be read is a change all the same.
    pub fn highest(&self) -> (DirectoryId, u64) {
        (self.directory, self.highest)
    }

    fn ask<T>(&mut self, at: At, op: Op) -> Next<T> {
        self.at = at;
        Next::Do(op)
    }

    fn list(&mut self, now: Instant) -> Next<Result<Sight, Fault>> {
        self.listing_began = now;
        self.ask(At::Listing, Op::List)
    }

    fn is_fresh(&self, now: Instant) -> bool {
        self.listed_at.is_some_and(|at| now.since(at) < LISTING_TTL)
    }

    fn opened(&mut self, now: Instant, directory: DirectoryId) -> Next<Result<Sight, Fault>> {
        self.directory = directory;
        match self.known {
            Some((known, generation)) if known == directory && self.is_fresh(now) => {
                self.ask(At::PeekingNext, Op::Read(generation + 1))
            }
            _ => self.list(now),
        }
    }

    fn read_head(
        &mut self,
        now: Instant,
        generation: u64,
        reply: Reply,
    ) -> Next<Result<Sight, Fault>> {
        let text = match reply {
            Reply::Text(text) => Some(text),
            Reply::NotALink => None,
            // Swept meanwhile: then a higher one stands there.
            Reply::Missing if self.tries < TRIES => return self.list(now),
            reply => return Next::Done(Err(self.fault("read", &reply).at(generation))),
        };
        let content = match text.as_deref().map(decode) {
            Some(Decoded::Entry(entry)) if !can_have_been_claimed(&entry, generation) => {
                Content::Corrupt("its fencing token is not that of a claim before it".to_owned())
            }
            Some(Decoded::Entry(entry)) => Content::Entry(entry),
            Some(Decoded::Corrupt(reason)) => Content::Corrupt(reason),
            Some(Decoded::UnknownFormat(format)) => {
                let hint = format!(
                    "it has format {format}, and this version knows only {}; upgrade this program",
                    super::entry::FORMAT
                );
                let fault = Fault::new(FaultKind::Fatal, "read").at(generation).hint(hint);
                return Next::Done(Err(fault));
            }
            None => Content::Corrupt("it is not a symbolic link".to_owned()),
        };
        let head = Head {
            directory: self.directory,
            generation,
            text,
            content,
            read_at: now,
            listed_at: self.listing_began,
        };
        let released = matches!(&head.content,
            Content::Entry(entry) if entry.record.kind == RecordKind::Released);
        self.head = Some(Box::new(head));
        match released {
            true if generation == 1 => self.read_below(Reply::Missing),
            true => self.ask(At::ReadingBelow, Op::Read(generation - 1)),
            false => self.done(),
        }
    }

    /// A release is honoured only if the record directly below it is of the term that it releases.
    fn read_below(&mut self, reply: Reply) -> Next<Result<Sight, Fault>> {
        let below = match reply {
            Reply::Text(text) => match decode(&text) {
                Decoded::Entry(entry) => Some(entry),
                _ => None,
            },
            Reply::NotALink | Reply::Missing => None,
            reply => return Next::Done(Err(self.fault("read", &reply))),
        };
        if let Some(head) = &mut self.head
            && let Content::Entry(entry) = &mut head.content
        {
            let honoured = below.is_some_and(|below| below.record.is_same_term(&entry.record));
            if !honoured {
                entry.record.kind = RecordKind::Held;
            }
        }
        self.done()
    }

    fn done(&mut self) -> Next<Result<Sight, Fault>> {
        Next::Done(Ok(self.head.take().map_or(Sight::Nothing, Sight::Head)))
    }

    fn fault(&self, operation: &'static str, reply: &Reply) -> Fault {
        Fault::of_read(operation, reply, self.first_contact)
    }
}

/// A generation is the claim of its token or came after that.
fn can_have_been_claimed(entry: &Entry, generation: u64) -> bool {
    entry.record.fencing_token.is_some_and(|token| (1..=generation).contains(&token))
}

impl Step for Observe {
    type Output = Result<Sight, Fault>;

    fn next(&mut self, now: Instant, reply: Reply) -> Next<Self::Output> {
        match (self.at, reply) {
            (At::Begin, _) => self.ask(At::Opening, Op::Open),
            (At::Opening, Reply::Opened(directory)) => self.opened(now, directory),
            (At::Opening, Reply::Missing) => Next::Done(Ok(Sight::Nothing)),
            // After a longer pause the name may have come and been swept.
            (At::PeekingNext, Reply::Missing) if self.is_fresh(now) => {
                Next::Done(Ok(Sight::Unchanged))
            }
            (At::PeekingNext, reply) => {
                if matches!(reply, Reply::Text(_) | Reply::NotALink) {
                    self.highest = self.known.map_or(0, |(_, generation)| generation + 1);
                }
                self.list(now)
            }
            (At::Listing, Reply::Listed(names)) => match names.last() {
                Some(&highest) => {
                    self.tries += 1;
                    self.highest = self.highest.max(highest);
                    self.ask(At::ReadingHead(highest), Op::Read(highest))
                }
                None => Next::Done(Ok(Sight::Nothing)),
            },
            (At::ReadingHead(generation), reply) => self.read_head(now, generation, reply),
            (At::ReadingBelow, reply) => self.read_below(reply),
            (At::Opening, reply) => Next::Done(Err(self.fault("open", &reply))),
            (At::Listing, reply) => Next::Done(Err(self.fault("list", &reply))),
        }
    }
}
