//! What a poller polls, in numbers: the sums are kept up to date with each change, so that reading them costs nothing.

/// How many pipelines are polled, and what is pending in them.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct PollCounts {
    /// The pipelines that anyone subscribes to.
    pub pipelines: u32,
    /// Those among them that have not been polled yet.
    pub not_polled: u32,
    /// The approval requests that were pending at the last poll of each pipeline that succeeded.
    pub pending_requests: u32,
}

impl PollCounts {
    /// The sums after the part of one pipeline changed.
    pub(super) const fn replace(self, before: Self, after: Self) -> Self {
        Self {
            pipelines: replace(self.pipelines, before.pipelines, after.pipelines),
            not_polled: replace(self.not_polled, before.not_polled, after.not_polled),
            pending_requests: replace(self.pending_requests, before.pending_requests, after.pending_requests),
        }
    }
}

const fn replace(sum: u32, before: u32, after: u32) -> u32 {
    sum.saturating_sub(before).saturating_add(after)
}
