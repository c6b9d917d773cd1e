//! Candidates in processes of their own, and the hand-overs between them.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use leaderelection::crossbeam_channel::{Receiver, Sender, unbounded};
use rustix::process::{Pid, Signal, kill_process};

use crate::clock::{now, pause};
use crate::subject::{Subject, Target};

/// The longest that anything may take; a lease or two.
const PATIENCE: Duration = Duration::from_secs(60);

/// All candidates of one lock; the first leads.
pub struct Arena {
    subject: Subject,
    target: Target,
    candidates: Vec<Candidate>,
    leader: usize,
    said: Receiver<(usize, Said)>,
    say: Sender<(usize, Said)>,
}

struct Candidate {
    process: Child,
    input: Option<ChildStdin>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Waiting,
    Began(u64),
    Ended(u64),
}

impl Arena {
    /// One leader, and so many that wait.
    pub fn new(subject: Subject, target: Target, waiters: usize) -> io::Result<Self> {
        let (say, said) = unbounded();
        let mut arena = Self { subject, target, candidates: Vec::new(), leader: 0, said, say };
        arena.enter()?;
        arena.leader = arena.next_to_begin()?.0;
        for _ in 0..waiters {
            arena.enter()?;
        }
        Ok(arena)
    }

    /// From the last instruction of the leader's work to the first of the next leader's, in
    /// nanoseconds.
    pub fn hand_over(&mut self) -> io::Result<u64> {
        self.settle();
        let old = self.leader;
        let mut began = None;
        let mut ended = self.subject.is_told_by_signal().then(now);
        match ended {
            Some(_) => self.terminate(old)?,
            None => self.tell(old, "release")?,
        }
        while ended.is_none() || began.is_none() {
            match self.hear()? {
                (who, Said::Ended(at)) if who == old => ended = Some(at),
                (who, Said::Began(at)) => {
                    began = Some(at);
                    self.leader = who;
                }
                _ => {}
            }
        }
        self.rejoin(old)?;
        // A clock is read before the release and after the claim: one cannot precede the other.
        began.zip(ended).map(|(began, ended)| began.saturating_sub(ended)).ok_or_else(hung)
    }

    /// From the killing of the leader to the first instruction of the next leader's work.
    pub fn take_over(&mut self) -> io::Result<u64> {
        self.settle();
        let old = self.leader;
        let killed = now();
        self.candidates[old].process.kill()?;
        let (next, began) = self.next_to_begin()?;
        self.candidates[old].process.wait()?;
        self.leader = next;
        self.enter_at(old)?;
        Ok(began.saturating_sub(killed))
    }

    fn enter(&mut self) -> io::Result<()> {
        self.enter_at(self.candidates.len())
    }

    /// Starts candidate number `at` and waits until it is one.
    fn enter_at(&mut self, at: usize) -> io::Result<()> {
        let mut command = self.subject.command(&self.target);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn()?;
        let output = process.stdout.take().ok_or_else(hung)?;
        let input = process.stdin.take();
        let say = self.say.clone();
        let by_key = self.subject.is_told_by_signal();
        std::thread::Builder::new().spawn(move || listen(at, output, by_key, &say))?;
        let candidate = Candidate { process, input };
        match self.candidates.get_mut(at) {
            Some(place) => *place = candidate,
            None => self.candidates.push(candidate),
        }
        if self.subject.is_command() {
            return Ok(());
        }
        self.campaign(at)
    }

    fn campaign(&mut self, at: usize) -> io::Result<()> {
        self.tell(at, "campaign")?;
        let mut early = None;
        while self.hear_of(at, &mut early)? != Said::Waiting {}
        // The first candidate of all may begin before it has said that it waits.
        if let Some(began) = early {
            let _ = self.say.send((at, began));
        }
        Ok(())
    }

    fn hear_of(&mut self, at: usize, early: &mut Option<Said>) -> io::Result<Said> {
        loop {
            match self.hear()? {
                (who, said) if who == at => {
                    if matches!(said, Said::Began(_)) {
                        *early = Some(said);
                    }
                    return Ok(said);
                }
                _ => {}
            }
        }
    }

    /// Makes the leader of before a candidate again.
    fn rejoin(&mut self, at: usize) -> io::Result<()> {
        if !self.subject.is_command() {
            return self.campaign(at);
        }
        self.candidates[at].input = None;
        self.candidates[at].process.wait()?;
        self.enter_at(at)
    }

    /// What is measured begins from rest. Commands can't say when they wait.
    fn settle(&self) {
        let slow = self.subject.is_command();
        pause(Duration::from_millis(if slow { 60 } else { 5 }));
    }

    fn next_to_begin(&mut self) -> io::Result<(usize, u64)> {
        loop {
            if let (who, Said::Began(at)) = self.hear()? {
                return Ok((who, at));
            }
        }
    }

    fn hear(&self) -> io::Result<(usize, Said)> {
        self.said.recv_timeout(PATIENCE).map_err(|_| hung())
    }

    fn terminate(&self, at: usize) -> io::Result<()> {
        let id = i32::try_from(self.candidates[at].process.id()).ok().and_then(Pid::from_raw);
        Ok(kill_process(id.ok_or_else(hung)?, Signal::TERM)?)
    }

    fn tell(&mut self, at: usize, line: &str) -> io::Result<()> {
        let input = self.candidates[at].input.as_mut().ok_or_else(hung)?;
        writeln!(input, "{line}")?;
        input.flush()
    }
}

fn hung() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "a candidate did not answer")
}

fn listen(who: usize, output: ChildStdout, by_key: bool, say: &Sender<(usize, Said)>) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        if by_key {
            // The value of the key comes on a line of its own.
            if line.contains('/') {
                let _ = say.send((who, Said::Began(now())));
            }
            continue;
        }
        let (word, number) = line.split_once(' ').unwrap_or((&line, "0"));
        let Ok(number) = number.parse() else { continue };
        let said = match word {
            "waiting" => Said::Waiting,
            "began" => Said::Began(number),
            "ended" => Said::Ended(number),
            _ => continue,
        };
        let _ = say.send((who, said));
    }
}

impl Drop for Arena {
    /// The waiting ones first, so that none of them begins to lead.
    fn drop(&mut self) {
        let leader = self.leader;
        let waiting = (0..self.candidates.len()).filter(|at| *at != leader);
        for at in waiting.chain([leader]) {
            if let Some(candidate) = self.candidates.get_mut(at) {
                candidate.input = None;
                let _ = candidate.process.kill();
                let _ = candidate.process.wait();
            }
        }
    }
}
