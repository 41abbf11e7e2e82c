//! Prints the results as Markdown tables, from which docs/performance.md is made, and draws the chart.

use crate::chart;
use crate::results::Results;
use crate::trial::{
    APPLY_TO_READY_P50, CPU, DECISIONS_PER_SECOND, MEMORY_AT_THE_END, PEAK_MEMORY, START_TO_SUBMISSION,
};
use crate::workload::Workload;
use std::collections::BTreeSet;
use std::path::Path;

/// Metrics that are shown as ratios too, and the contender that the others are compared with.
const RATIOS: [(&str, &str); 9] = [
    (DECISIONS_PER_SECOND, "ceiling"),
    (DECISIONS_PER_SECOND, "ceiling with Events"),
    (DECISIONS_PER_SECOND, "ceiling with Events and a watch"),
    (DECISIONS_PER_SECOND, "Go"),
    (CPU, "Go"),
    (MEMORY_AT_THE_END, "Go"),
    (PEAK_MEMORY, "Go"),
    (START_TO_SUBMISSION, "Go"),
    (APPLY_TO_READY_P50, "Go"),
];

/// Prints the tables, and draws the chart into the folder.
pub fn write(results: &Results, folder: &Path) {
    for (name, value) in &results.machine {
        println!("{name}: {value}");
    }
    print_sweep(results);
    for part in ["requests", "sizes", "delays", "arrivals"] {
        for workload in results.workloads(part) {
            print_part(results, part, workload);
        }
    }
    for failure in &results.failures {
        println!("\nFAILED: {failure}");
    }
    chart::draw(results, &folder.join("throughput.svg"));
    println!("\n{}", folder.display());
    assert!(results.failures.is_empty(), "{} trials failed", results.failures.len());
}

fn print_sweep(results: &Results) {
    let metrics = [
        DECISIONS_PER_SECOND,
        "API server CPU s per 1,000 decisions",
        "etcd CPU s per 1,000 decisions",
        "CPU s per 1,000 decisions",
    ];
    for workload in results.workloads("sweep") {
        print_header(&format!("Ways to write a status: {workload}"), &metrics);
        for way in results.contenders("sweep", workload) {
            print_row(way, metrics.into_iter().map(|metric| results.median("sweep", workload, way, metric)));
        }
    }
}

fn print_part(results: &Results, part: &str, workload: Workload) {
    let contenders = results.contenders(part, workload);
    print_header(&format!("{part}: {workload}"), &contenders);
    let builds = results.reference_build.iter().flat_map(|build| {
        let metrics = RATIOS.iter().filter(|(_, reference)| *reference == "Go");
        metrics.map(|(metric, _)| (*metric, build.as_str()))
    });
    for (metric, reference) in builds.chain(RATIOS) {
        let ratios = contenders.iter().map(|name| results.ratio(part, workload, (name, reference), metric));
        let ratios: Vec<_> = ratios.collect();
        if ratios.iter().flatten().count() > 1 {
            print_row(&format!("{metric}, relative to {reference}"), ratios.into_iter());
        }
    }
    let rows = results.rows.iter().filter(|row| row.part == part && row.workload == workload);
    let metrics: BTreeSet<&str> = rows.flat_map(|row| row.metrics.keys().map(String::as_str)).collect();
    for metric in metrics {
        print_row(metric, contenders.iter().map(|name| results.median(part, workload, name, metric)));
    }
}

fn print_header(title: &str, columns: &[&str]) {
    println!("\n### {title}\n\n| | {} |\n|---|{}", columns.join(" | "), "--:|".repeat(columns.len()));
}

fn print_row(name: &str, values: impl Iterator<Item = Option<f64>>) {
    println!("| {name} | {} |", values.map(format_value).collect::<Vec<_>>().join(" | "));
}

/// With about three significant digits.
fn format_value(value: Option<f64>) -> String {
    match value {
        None => String::new(),
        Some(value) if value.abs() >= 100.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}
