//! The command `elect`, tested as processes: what it says, what it returns, and what is left alive.

mod doctor;
mod guard;
mod once;
mod purge;
mod run;
mod same_host;
mod spare;
mod support;
mod terminal;
