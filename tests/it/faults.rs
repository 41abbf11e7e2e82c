//! What would find the promise broken: crashes and cuts at every request. Each test is
//! quick in `make test` and exhaustive in `make faults`; docs/reliability.md says what they show.

mod every_request;
mod soak;
