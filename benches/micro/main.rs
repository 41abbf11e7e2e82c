//! What is hot in a round, piece by piece: to decide, to word a status, to read and write an object, to class an error. criterion
//! says how long each takes, and callgrind, where valgrind is installed, how many instructions: those are the same each time.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "as in tests")]

mod cases;
mod instructions;

use criterion::Criterion;
use std::time::Duration;

/// What callgrind is given to run: one case, so many times.
const REPEAT: &str = "--repeat";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, repeat, name, times] = arguments.as_slice()
        && repeat == REPEAT
    {
        let case = cases::all().into_iter().find(|case| case.name == name).unwrap();
        return (0..times.parse().unwrap()).for_each(|_| (case.run)());
    }
    let (warm_up, measurement) = (Duration::from_millis(500), Duration::from_secs(2));
    let settings = Criterion::default().warm_up_time(warm_up).measurement_time(measurement);
    let mut criterion = settings.without_plots().configure_from_args();
    for case in cases::all() {
        criterion.bench_function(case.name, |bencher| bencher.iter(|| (case.run)()));
    }
    criterion.final_summary();
    instructions::count(&cases::all());
}
