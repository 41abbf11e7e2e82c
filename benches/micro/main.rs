//! Measures the hot functions of a reconciliation: decide, write the status, read and write an object, classify an error. criterion
//! measures the time. callgrind, if valgrind is installed, counts instructions, which are the same in every run.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "as in tests")]

mod cases;
mod instructions;

use criterion::Criterion;
use std::time::Duration;

/// `--repeat NAME TIMES` runs one case that many times and exits, for callgrind.
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
