//! The hot paths of the code alone, by divan: `cargo bench --features testing --bench code`.

use std::time::Duration;

use divan::{Bencher, black_box};
use leaderelection::testing::Clock;
use leaderelection::testing::file::{Decoded, decode, encode};
use leaderelection::{Config, LeaderElector, Leadership, MemoryLock};

#[path = "speed/machine.rs"]
mod machine;

fn main() {
    divan::main();
}

/// The limit of the next two: whoever asks whether a term is valid has to read the clock.
#[divan::bench]
fn clock_read(bencher: Bencher<'_, '_>) {
    let clock = Clock::system();
    bencher.bench_local(|| black_box(clock.now()));
}

#[divan::bench]
fn is_leader(bencher: Bencher<'_, '_>) {
    let (elector, _leadership) = leading();
    bencher.bench_local(|| black_box(elector.is_leader()));
}

#[divan::bench]
fn term_is_valid(bencher: Bencher<'_, '_>) {
    let (_elector, leadership) = leading();
    let term = leadership.term();
    bencher.bench_local(|| black_box(term.is_valid()));
}

#[divan::bench]
fn term_ensure(bencher: Bencher<'_, '_>) {
    let (_elector, leadership) = leading();
    let term = leadership.term();
    bencher.bench_local(|| black_box(term.ensure(Duration::from_secs(1)).is_ok()));
}

#[divan::bench]
fn renewal_of_the_machine_in_memory(bencher: Bencher<'_, '_>) {
    let mut machine = machine::Machine::leading(MemoryLock::new());
    bencher.bench_local(|| machine.renew());
}

#[divan::bench]
fn term_of_the_machine_in_memory(bencher: Bencher<'_, '_>) {
    let mut machine = machine::Machine::leading(MemoryLock::new());
    bencher.bench_local(|| {
        machine.release();
        machine.campaign();
    });
}

#[divan::bench]
fn record_decoded(bencher: Bencher<'_, '_>) {
    let text = a_record();
    bencher.bench_local(|| black_box(decode(black_box(&text))));
}

#[divan::bench]
fn record_encoded(bencher: Bencher<'_, '_>) {
    let Decoded::Entry(entry) = decode(&a_record()) else { panic!("it was written just now") };
    bencher.bench_local(|| black_box(encode(black_box(&entry)).is_ok()));
}

fn leading() -> (LeaderElector, Leadership) {
    let elector = LeaderElector::new(Config::new(MemoryLock::new())).expect("the defaults");
    let leadership = elector.campaign().expect("nobody else wants the lock");
    (elector, leadership)
}

/// The text of a record as a candidate has written it.
fn a_record() -> Vec<u8> {
    let place = tempfile::tempdir().expect("a directory for temporary files");
    let path = place.path().join("lock");
    let lock = leaderelection::FileLock::new(&path).expect("a lock in it");
    let elector = LeaderElector::new(Config::new(lock)).expect("the defaults");
    drop(elector.campaign().expect("nobody else wants the lock"));
    let first = path.join(leaderelection::testing::file::name_of(1));
    let text = std::fs::read_link(first).expect("the first generation");
    text.into_os_string().into_encoded_bytes()
}
