//! The steps of the file protocol against a directory that answers anything.

use std::time::Duration;

use leaderelection::testing::Instant;
use leaderelection::testing::file::{
    Claim, DirectoryId, Errno, Finish, Memory, Next, Observe, Predecessor, Renew, Reply, Sight,
    Step, Sweep, Text,
};

const HOME: DirectoryId = DirectoryId { device: 1, inode: 1 };
const BUDGET: Duration = Duration::from_secs(10);

struct Answers<'a> {
    bytes: &'a [u8],
    now: u64,
}

impl Answers<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    fn text(&mut self) -> Option<Text> {
        let length = usize::from(self.byte()?).min(self.bytes.len());
        let (text, rest) = self.bytes.split_at(length);
        self.bytes = rest;
        Some(text.into())
    }

    fn reply(&mut self) -> Option<Reply> {
        self.now += u64::from(self.byte()?) * 100_000_000;
        Some(match self.byte()? % 9 {
            0 | 1 => Reply::Opened(HOME),
            2 => Reply::Opened(DirectoryId { device: 2, inode: 2 }),
            3 => {
                let mut names: Vec<_> = self.text()?.iter().map(|name| u64::from(*name)).collect();
                names.sort_unstable();
                Reply::Listed(names.into())
            }
            4 => Reply::Text(self.text()?),
            5 => Reply::NotALink,
            6 => Reply::Done,
            7 => Reply::Missing,
            _ => match self.byte()? {
                0 => Reply::Exists,
                errno => Reply::Failed(Errno(i32::from(errno))),
            },
        })
    }

    /// Runs a step until it ends or the answers do.
    fn run<S: Step>(&mut self, mut step: S) -> Option<S::Output> {
        let mut reply = Reply::Begin;
        for _ in 0..500 {
            match step.next(Instant::from_nanos(self.now), reply) {
                Next::Do(_) => reply = self.reply()?,
                Next::Done(output) => return Some(output),
            }
        }
        panic!("a step that never ends");
    }
}

/// Runs steps against the answers that `data` makes.
pub fn check(data: &[u8]) {
    let mut answers = Answers { bytes: data, now: 0 };
    let text: Text = b"mine".as_slice().into();
    while let Some(choice) = answers.byte() {
        let head = match answers.run(Observe::new(None, choice & 1 == 0)) {
            Some(Ok(Sight::Head(head))) => Some(head),
            _ => None,
        };
        match choice % 4 {
            0 => {
                let after = head.as_deref().map(Predecessor::from);
                let generation = after.as_ref().map(|_| head.as_ref().unwrap().generation + 1);
                if let Some(Ok(claimed)) = answers.run(Claim::new(after, text.clone(), BUDGET)) {
                    assert_eq!(claimed.generation, generation.unwrap_or(1));
                }
            }
            1 => drop(answers.run(Renew::new(HOME, 7, text.clone(), BUDGET))),
            2 => drop(answers.run(Finish::complete(HOME, 7, text.clone(), BUDGET, true))),
            _ => {
                let mut memory = Memory::new(Some("boot-1".into()));
                memory.note(HOME, 3, Instant::default());
                let until = Instant::from_nanos(u64::MAX);
                let _ = answers.run(Sweep::new(&memory, HOME, 9, 48, until));
            }
        }
    }
}
