//! The rules of the election broken on purpose, by an adaptor between the machine and its world.
//! The machine itself has no hooks for that.

use std::time::Duration;

use leaderelection::testing::{
    Action, Election, Event, Instant, Jitter, ReadReply, Settings, WriteReply,
};
use leaderelection::{Incarnation, LeaderElectionRecord, Liveness};

/// A rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Clocks run faster and slower than the settings allow for.
    DriftBeyondTheBound,
    /// Validity counts from when a write was answered.
    DeadlineFromTheReply,
    /// A write of unknown fate counts as not written.
    UnknownTakenAsFailed,
    /// A term that is told to stop counts its work as returned.
    ReleaseBeforeTheWorkHasEnded,
    /// A record with the candidate's own name counts as its own.
    SameNameIsOneself,
    /// A candidate waits for its own lease duration, not for the holder's.
    OwnLeaseInsteadOfTheHolders,
    /// A candidate's wait counts from before the read that showed the version was sent.
    TimerFromBeforeTheRead,
    /// A confirmation that comes after the end of the validity revives it.
    LateReplyRevives,
    /// The store writes without comparing versions.
    ClaimWithoutComparing,
    /// Every holder is said to be proven dead.
    TheLivingSaidToBeDead,
    /// What proves a death on this boot of this host is taken to prove one on any.
    ProofOfAnotherBoot,
    /// A process that is gone is proof enough, though its work still holds its companion.
    ProofBesideLivingWork,
    /// In a directory, creating a name replaces what stands there.
    CreateReplacesAName,
    /// A claim counts though what stands under its name is another's.
    ClaimNotReadBack,
    /// A claim of this incarnation counts, whichever attempt has made it.
    MineByIncarnation,
    /// All below the head is removed at once.
    SweepWithoutItsWait,
    /// The same, and a claim does not list the directory once more.
    NoListingAfterAClaim,
}

pub const MUTANTS: [Mutant; 17] = [
    Mutant::DriftBeyondTheBound,
    Mutant::DeadlineFromTheReply,
    Mutant::UnknownTakenAsFailed,
    Mutant::ReleaseBeforeTheWorkHasEnded,
    Mutant::SameNameIsOneself,
    Mutant::OwnLeaseInsteadOfTheHolders,
    Mutant::TimerFromBeforeTheRead,
    Mutant::LateReplyRevives,
    Mutant::ClaimWithoutComparing,
    Mutant::TheLivingSaidToBeDead,
    Mutant::ProofOfAnotherBoot,
    Mutant::ProofBesideLivingWork,
    Mutant::CreateReplacesAName,
    Mutant::ClaimNotReadBack,
    Mutant::MineByIncarnation,
    Mutant::SweepWithoutItsWait,
    Mutant::NoListingAfterAClaim,
];

impl Mutant {
    /// It breaks a rule of the file protocol.
    pub fn is_of_files(self) -> bool {
        matches!(
            self,
            Mutant::CreateReplacesAName
                | Mutant::ClaimNotReadBack
                | Mutant::MineByIncarnation
                | Mutant::SweepWithoutItsWait
                | Mutant::NoListingAfterAClaim
        )
    }
}

/// The election that ships, perhaps with an adaptor around it.
#[derive(Debug)]
pub struct Machine {
    election: Election,
    adaptor: Option<Box<Adaptor>>,
}

/// What an adaptor has to know of the run.
#[derive(Debug)]
struct Adaptor {
    mutant: Mutant,
    settings: Settings,
    incarnation: Incarnation,
    /// When the request under way was sent.
    sent: Option<Instant>,
    /// The instant of the machine's last step, as it was told.
    told: Instant,
    /// How far the time that the machine is told lies behind.
    behind: Duration,
    /// The end of the validity as the world was told.
    valid_until: Instant,
    leads: bool,
    has_returned: bool,
}

impl Machine {
    pub fn new(
        mutant: Option<Mutant>,
        settings: &Settings,
        incarnation: Incarnation,
        now: Instant,
        held_back_until: Option<Instant>,
    ) -> Self {
        let adaptor = mutant.map(|mutant| {
            Box::new(Adaptor {
                mutant,
                settings: settings.clone(),
                incarnation,
                sent: None,
                told: now,
                behind: Duration::ZERO,
                valid_until: now,
                leads: false,
                has_returned: false,
            })
        });
        let election = Election::new(settings.clone(), incarnation, now, held_back_until);
        Self { election, adaptor }
    }

    pub fn step(&mut self, now: Instant, jitter: Jitter, event: Event, actions: &mut Vec<Action>) {
        match &mut self.adaptor {
            None => self.election.step(now, jitter, event, actions),
            Some(adaptor) => adaptor.step(&mut self.election, now, jitter, event, actions),
        }
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        let deadline = self.election.next_deadline()?;
        match &self.adaptor {
            None => Some(deadline),
            Some(adaptor) if adaptor.is_withheld(None) => None,
            Some(adaptor) => Some(deadline + adaptor.behind),
        }
    }
}

impl Adaptor {
    fn step(
        &mut self,
        election: &mut Election,
        now: Instant,
        jitter: Jitter,
        event: Event,
        actions: &mut Vec<Action>,
    ) {
        if self.is_withheld(Some(&event)) {
            return;
        }
        let answered = matches!(event, Event::Read(_) | Event::Written(_));
        let told = self.time_to_tell(now, &event).max(self.told);
        self.told = told;
        if answered {
            self.sent = None;
        }
        let event = self.twist(event);
        let first = actions.len();
        election.step(told, jitter, event, actions);
        if self.mutant == Mutant::ReleaseBeforeTheWorkHasEnded
            && actions[first..].contains(&Action::StopWork)
            && !self.has_returned
        {
            self.has_returned = true;
            election.step(told, jitter, Event::WorkReturned { panicked: false }, actions);
        }
        for action in &mut actions[first..] {
            self.note(now, action);
        }
    }

    /// The machine is not told of what would make it act before an answer.
    fn is_withheld(&self, event: Option<&Event>) -> bool {
        match (self.mutant, event) {
            (_, Some(Event::Read(_) | Event::Written(_))) => false,
            (Mutant::DeadlineFromTheReply, None | Some(Event::Tick)) => self.sent.is_some(),
            (Mutant::LateReplyRevives, None | Some(Event::Tick)) => {
                self.sent.is_some() && self.leads
            }
            (Mutant::ReleaseBeforeTheWorkHasEnded, Some(Event::WorkReturned { .. })) => {
                self.has_returned
            }
            _ => false,
        }
    }

    fn time_to_tell(&mut self, now: Instant, event: &Event) -> Instant {
        match (self.mutant, event, self.sent) {
            // The time for which a request is under way does not count.
            (Mutant::DeadlineFromTheReply, Event::Read(_) | Event::Written(_), Some(sent)) => {
                self.behind += now.since(sent);
                now - self.behind
            }
            (Mutant::DeadlineFromTheReply, _, Some(sent)) => sent - self.behind,
            (Mutant::TimerFromBeforeTheRead, Event::Read(_), Some(sent)) if !self.leads => sent,
            (Mutant::LateReplyRevives, Event::Written(_), _)
                if self.leads && now >= self.valid_until =>
            {
                self.valid_until - Duration::from_nanos(1)
            }
            _ => now - self.behind,
        }
    }

    fn twist(&self, event: Event) -> Event {
        match (self.mutant, event) {
            (Mutant::UnknownTakenAsFailed, Event::Written(WriteReply::Indeterminate)) => {
                Event::Written(WriteReply::Unavailable)
            }
            (_, Event::Read(ReadReply::Found { mut observed, mut liveness })) => {
                self.twist_record(&mut observed.record, &mut liveness);
                Event::Read(ReadReply::Found { observed, liveness })
            }
            (_, event) => event,
        }
    }

    fn twist_record(&self, record: &mut LeaderElectionRecord, liveness: &mut Liveness) {
        match self.mutant {
            Mutant::SameNameIsOneself if record.holder_identity == self.settings.identity => {
                record.incarnation = self.incarnation;
            }
            Mutant::OwnLeaseInsteadOfTheHolders => {
                record.lease_duration = self.settings.lease_duration;
            }
            Mutant::TheLivingSaidToBeDead => *liveness = Liveness::Dead,
            _ => {}
        }
    }

    /// Translates the instants of an action, and remembers what matters of it.
    fn note(&mut self, now: Instant, action: &mut Action) {
        match action {
            Action::Read { deadline } | Action::Write { deadline, .. } => {
                *deadline = *deadline + self.behind;
                if self.leads {
                    *deadline = (*deadline).min(self.valid_until);
                }
                self.sent = Some(now);
            }
            Action::BeginTerm { valid_until, .. } => {
                *valid_until = *valid_until + self.behind;
                self.valid_until = *valid_until;
                self.leads = true;
            }
            Action::Extend { from, until } => {
                *from = self.valid_until;
                *until = *until + self.behind;
                self.valid_until = *until;
            }
            Action::EndTerm => self.leads = false,
            Action::Finish { hold_back_until: Some(until), .. } => *until = *until + self.behind,
            _ => {}
        }
    }
}
