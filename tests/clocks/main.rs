//! `elect` on machines whose clocks run fast or slow, and on machines that are suspended.
//!
//! A small library is preloaded that shows other clocks, so `elect` has to ask the C library for
//! the time, which takes a build of its own:
//!
//! ```sh
//! RUSTFLAGS='--cfg rustix_use_libc' cargo test --features cli --test clocks \
//!     --target-dir target/libc -- --nocapture
//! ```
//!
//! ELECT_CLOCKS_ROUNDS (default 3) sets how many losses of each kind there are.
#![cfg(target_os = "linux")]
// Any other build compiles them, and runs none.
#![cfg_attr(not(rustix_use_libc), allow(dead_code))]

#[path = "../chaos/machine.rs"]
#[expect(dead_code, reason = "shared with the chaos")]
mod lag;
#[path = "../machine_faults/ledger.rs"]
#[expect(dead_code, reason = "shared with the tests of a machine in trouble")]
mod ledger;
mod machine;
mod rates;
#[path = "../elect/support.rs"]
#[expect(dead_code, reason = "shared with the other tests of the command")]
mod support;
mod suspend;
