//! Placeholder.

use leaderelection::testing::Instant;

use super::network::Call;
use super::world::World;

impl World {
    pub(super) fn file_send(&mut self, _node: usize, _call: Call, _deadline: Instant) {}

    pub(super) fn file_crashed(&mut self, _node: usize) {}
}
