//! Shards that are spread over processes: each is worked on by whoever leads for it.
//!
//!     cargo run --example pool [DIRECTORY]
//!
//! Start it two or three times with one DIRECTORY, which must exist, kill one, and another takes
//! its shards. Without it a temporary directory and two pools of one process serve, and the first
//! leaves.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use leaderelection::{Config, ElectorHandle, ElectorPool, FileLock};

const SHARDS: usize = 12;

/// One process's share of the work.
struct Worker {
    pool: ElectorPool,
    shards: Vec<ElectorHandle>,
}

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) {
        let worker = Worker::start(&directory)?;
        for _ in 0..60 {
            println!("pid {} works on {:?}", std::process::id(), worker.mine());
            pause(Duration::from_secs(1));
        }
        return Ok(());
    }
    let scratch = tempfile::tempdir()?;
    let first = Worker::start(scratch.path())?;
    wait_for(&first, SHARDS)?;
    let second = Worker::start(scratch.path())?;
    println!("the first one works on {:?}, the second one on {:?}", first.mine(), second.mine());
    // A worker that leaves gives its leases back; one that is killed is proven to be dead, or its
    // leases run out.
    first.leave();
    wait_for(&second, SHARDS)?;
    println!("the first one has left: the second one works on {:?}", second.mine());
    second.leave();
    Ok(())
}

impl Worker {
    fn start(directory: &Path) -> Result<Self, Box<dyn Error>> {
        let pool = ElectorPool::new();
        let mut shards = Vec::new();
        for shard in 0..SHARDS {
            let lock = FileLock::new(directory.join(format!("shard-{shard}")))?;
            shards.push(pool.spawn_forever(Config::new(lock))?);
        }
        Ok(Self { pool, shards })
    }

    /// The shards that are this worker's now, with the tokens that its writes should carry.
    fn mine(&self) -> Vec<(usize, u64)> {
        let terms = self.shards.iter().map(ElectorHandle::term).enumerate();
        terms.filter_map(|(shard, term)| Some((shard, term?.fencing_token()))).collect()
    }

    /// Works on nothing any more, and waits until that is known.
    fn leave(self) {
        drop(self.shards);
        self.pool.join();
    }
}

fn wait_for(worker: &Worker, shards: usize) -> Result<(), Box<dyn Error>> {
    for _ in 0..3000 {
        if worker.mine().len() == shards {
            return Ok(());
        }
        pause(Duration::from_millis(10));
    }
    Err(format!("it leads for {} of {shards} shards", worker.mine().len()).into())
}

#[expect(clippy::disallowed_methods, reason = "an example that only looks now and then")]
fn pause(span: Duration) {
    std::thread::sleep(span);
}
