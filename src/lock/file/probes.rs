//! The probes that the locks of this process share: thousands of them may wait for one holder, and
//! each probe keeps files open.
//!
//! All try the lock by one open file then. So one may have it while another asks, who gets it too:
//! nobody else has it, and that is what both want to know.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};

use crate::lock::file::companion::CompanionId;
use crate::lock::file::same_host::Probe;
use crate::sync::Mutex;

type Probes = HashMap<CompanionId, Weak<Probe>>;

static OF_PROCESS: LazyLock<Mutex<Probes>> = LazyLock::new(Mutex::default);

/// Beyond so many, those that nobody needs any more are forgotten.
const MANY: usize = 16;

/// The probe of the companion `id` that another lock has, or what `find` finds.
pub(super) fn shared(id: CompanionId, find: impl FnOnce() -> Option<Probe>) -> Option<Arc<Probe>> {
    if let Some(known) = OF_PROCESS.lock().get(&id).and_then(Weak::upgrade) {
        return Some(known);
    }
    // Not under the mutex: a directory that hangs must not hold up other locks.
    let found = Arc::new(find()?);
    if found.is_of_a_file() {
        let mut probes = OF_PROCESS.lock();
        if probes.len() >= MANY {
            probes.retain(|_, probe| probe.strong_count() > 0);
        }
        probes.insert(id, Arc::downgrade(&found));
    }
    Some(found)
}
