//! What would find the promise broken: crashes and cuts at every request, a view that lies, and operators that race. Each test is
//! quick in `make test` and exhaustive in `make faults`; docs/reliability.md says what they show.

mod books;
mod every_request;
mod load;
mod onlooker;
mod soak;
mod two_operators;
mod views;
