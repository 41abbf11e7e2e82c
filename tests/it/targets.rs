//! Decisions with a target: the right account and region, under the authority that the target gives, and one broken target slows no other.

mod authority;
mod clock;
mod counts;
mod events;
mod isolation;
mod own_identity;
mod places;
mod site;
mod soak;
mod unreachable;
