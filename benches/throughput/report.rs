//! The tables of a run, in Markdown: what stands in docs/performance.md is pasted from here. The pictures are drawn beside.

use crate::results::Results;
use crate::svg;
use crate::trial::Work;
use std::collections::BTreeSet;
use std::path::Path;

/// Figures that are told beside the ceiling's, the operator's and Go's. Beside each: of whom the ratio is.
const RATIOS: [(&str, &str); 9] = [
    ("decisions a second", "ceiling"),
    ("decisions a second", "ceiling with Events"),
    ("decisions a second", "ceiling with Events and a watch"),
    ("decisions a second", "Go"),
    ("CPU s per 1,000", "Go"),
    ("MiB when done", "Go"),
    ("MiB at most", "Go"),
    ("s from start to first answer", "Go"),
    ("ms from apply to Ready, p50", "Go"),
];

/// Prints the tables, and draws the pictures into a folder.
pub fn write(results: &Results, folder: &Path) {
    for (name, value) in &results.machine {
        println!("{name}: {value}");
    }
    sweep(results);
    for part in ["alone", "sizes", "delays", "arrivals"] {
        for work in results.works(part) {
            table(results, part, work);
        }
    }
    for failure in &results.failures {
        println!("\nNOT CARRIED THROUGH: {failure}");
    }
    for (name, picture) in [("throughput.svg", svg::throughput(results)), ("memory.svg", svg::memory(results))] {
        std::fs::write(folder.join(name), picture).unwrap();
    }
    println!("\n{}", folder.display());
    assert!(results.failures.is_empty(), "{} trials were not carried through", results.failures.len());
}

fn sweep(results: &Results) {
    let figures = ["decisions a second", "API server CPU s per 1,000", "etcd CPU s per 1,000", "CPU s per 1,000"];
    for work in results.works("sweep") {
        head(&format!("The ceiling, by how it is written: {work}"), &figures);
        for way in results.contenders("sweep", work) {
            line(way, figures.into_iter().map(|figure| results.median("sweep", work, way, figure)));
        }
    }
}

fn table(results: &Results, part: &str, work: Work) {
    let contenders = results.contenders(part, work);
    head(&format!("{part}: {work}"), &contenders);
    for (figure, base) in RATIOS {
        let ratios = contenders.iter().map(|name| results.ratio(part, work, (name, base), figure));
        let ratios: Vec<_> = ratios.collect();
        if ratios.iter().flatten().count() > 1 {
            line(&format!("{figure}, of the {base}'s"), ratios.into_iter());
        }
    }
    let rows = results.rows.iter().filter(|row| row.part == part && row.work == work);
    let figures: BTreeSet<&str> = rows.flat_map(|row| row.figures.keys().map(String::as_str)).collect();
    for figure in figures {
        line(figure, contenders.iter().map(|name| results.median(part, work, name, figure)));
    }
}

fn head(title: &str, columns: &[&str]) {
    println!("\n### {title}\n\n| | {} |\n|---|{}", columns.join(" | "), "--:|".repeat(columns.len()));
}

fn line(name: &str, values: impl Iterator<Item = Option<f64>>) {
    println!("| {name} | {} |", values.map(text).collect::<Vec<_>>().join(" | "));
}

/// Three digits or so.
fn text(value: Option<f64>) -> String {
    match value {
        None => String::new(),
        Some(value) if value.abs() >= 100.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}
