//! The chart of docs/performance.md: decisions per second of each contender, by number of waiting decisions.

use crate::results::Results;
use crate::trial::DECISIONS_PER_SECOND;
use plotters::prelude::*;
use std::path::Path;

/// One per implementation. Its variants are lighter.
const COLORS: [RGBColor; 6] = [
    RGBColor(100, 116, 139),
    RGBColor(194, 65, 12),
    RGBColor(14, 116, 144),
    RGBColor(124, 58, 237),
    RGBColor(101, 163, 13),
    RGBColor(190, 24, 93),
];

pub fn draw(results: &Results, file: &Path) {
    let workloads: Vec<_> = results.workloads("sizes").into_iter().collect();
    let mut names: Vec<&str> = Vec::new();
    for name in workloads.iter().flat_map(|workload| results.contenders("sizes", *workload)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let rate = |group: usize, name| results.median("sizes", workloads[group], name, DECISIONS_PER_SECOND);
    let rates = (0..workloads.len()).flat_map(|group| names.iter().filter_map(move |name| rate(group, name)));
    let highest = rates.fold(1.0, f64::max);

    // One unit per bar, a gap after each group, and space for the legend on the right.
    let group_width = names.len() + 1;
    let width = workloads.len() * group_width * 4 / 3 + 1;
    let area = SVGBackend::new(file, (900, 420)).into_drawing_area();
    area.fill(&WHITE).unwrap();
    let mut chart = ChartBuilder::on(&area)
        .caption("Decisions per second, by number of waiting decisions", ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(40)
        .build_cartesian_2d(0..width, 0.0..highest * 1.1)
        .unwrap();
    let label = |x: &usize| match workloads.get(x / group_width) {
        Some(workload) if x % group_width == names.len() / 2 => workload.decisions().to_string(),
        _ => String::new(),
    };
    let mut mesh = chart.configure_mesh();
    mesh.disable_mesh().x_labels(width).x_label_formatter(&label).set_tick_mark_size(LabelAreaPosition::Bottom, 0);
    mesh.y_label_formatter(&|y| format!("{y:.0}")).draw().unwrap();
    let (mut implementations, mut opacity) = (Vec::new(), 1.0);
    for (position, name) in names.iter().enumerate() {
        let implementation = name.split(' ').next();
        opacity *= 0.6;
        if !implementations.contains(&implementation) {
            implementations.push(implementation);
            opacity = 1.0;
        }
        let style = COLORS[(implementations.len() - 1) % COLORS.len()].mix(opacity).filled();
        let bars = (0..workloads.len()).filter_map(|group| {
            let x = group * group_width + position;
            Some(Rectangle::new([(x, 0.0), (x + 1, rate(group, name)?)], style))
        });
        let legend = move |(x, y)| Rectangle::new([(x, y - 5), (x + 10, y + 5)], style);
        chart.draw_series(bars).unwrap().label(*name).legend(legend);
    }
    chart.configure_series_labels().position(SeriesLabelPosition::UpperRight).draw().unwrap();
    area.present().unwrap();
}
