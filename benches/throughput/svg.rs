//! The pictures of a run, drawn from its data: throughput beside the ceiling, and memory by the number of objects.

use crate::results::Results;
use crate::trial::Work;
use std::fmt::Write;

const WIDTH: f64 = 840.0;
const HEIGHT: f64 = 400.0;
/// What is left of, above, right of and below the area that is drawn in.
const MARGINS: (f64, f64, f64, f64) = (70.0, 50.0, 240.0, 50.0);

struct Picture {
    text: String,
    top: f64,
}

/// Decisions a second of each contender, by how many wait.
pub fn throughput(results: &Results) -> String {
    let works: Vec<Work> = results.works("sizes").into_iter().collect();
    let names = names(results, &works);
    let figure = "decisions a second";
    let value = |work: Work, name: &str| results.median("sizes", work, name, figure);
    let most = works.iter().flat_map(|work| names.iter().filter_map(|name| value(*work, name))).fold(1.0, f64::max);
    let mut picture = Picture::new("Decisions a second, by how many wait when the contender starts", most);
    let group = area().0 / works.len().max(1) as f64;
    for (index, work) in works.iter().enumerate() {
        let left = MARGINS.0 + group * index as f64;
        let bar = group * 0.8 / names.len() as f64;
        for (place, name) in names.iter().enumerate() {
            let Some(value) = value(*work, name) else { continue };
            let (x, y) = (left + group * 0.1 + bar * place as f64, picture.y(value));
            let height = MARGINS.1 + area().1 - y;
            picture.add(&format!(
                r#"<rect x="{x:.1}" y="{y:.1}" width="{:.1}" height="{height:.1}" fill="{}"><title>{name}: {value:.0}</title></rect>"#,
                bar * 0.92,
                color(name)
            ));
        }
        picture.label(left + group / 2.0, &decisions(*work).to_string());
    }
    picture.finish(&names)
}

/// Resident memory of each contender when it is done, by how many decisions there are.
pub fn memory(results: &Results) -> String {
    let works: Vec<Work> = results.works("sizes").into_iter().collect();
    let mut names = names(results, &works);
    names.retain(|name| !name.starts_with("ceiling"));
    let figure = "MiB when done";
    let value = |work: Work, name: &str| results.median("sizes", work, name, figure);
    let most = works.iter().flat_map(|work| names.iter().filter_map(|name| value(*work, name))).fold(1.0, f64::max);
    let widest = works.iter().map(|work| decisions(*work)).max().unwrap_or(1) as f64;
    let mut picture = Picture::new("Resident memory in MiB, by how many decisions there are", most);
    let x = |decisions: usize| MARGINS.0 + area().0 * decisions as f64 / widest;
    for name in &names {
        let points = works.iter().filter_map(|work| Some((x(decisions(*work)), picture.y(value(*work, name)?))));
        let points: Vec<(f64, f64)> = points.collect();
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let stroke = color(name);
        picture
            .add(&format!(r#"<polyline points="{}" fill="none" stroke="{stroke}" stroke-width="2"/>"#, path.join(" ")));
        for (x, y) in points {
            picture.add(&format!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="3.5" fill="{stroke}"/>"#));
        }
    }
    for work in &works {
        picture.label(x(decisions(*work)), &decisions(*work).to_string());
    }
    picture.finish(&names)
}

fn names(results: &Results, works: &[Work]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in works.iter().flat_map(|work| results.contenders("sizes", *work)) {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

const fn decisions(work: Work) -> usize {
    match work {
        Work::Waiting { decisions, .. } | Work::Arriving { decisions, .. } => decisions,
    }
}

/// The same in all pictures.
fn color(name: &str) -> &'static str {
    match name {
        "ceiling" => "#8a94a3",
        "ceiling with Events" => "#b3bbc7",
        "ceiling with Events and a watch" => "#d5dae1",
        "operator" => "#c2410c",
        "operator as it comes" => "#ee9b72",
        "Go" => "#0e7490",
        "Go as it comes" => "#67b7c9",
        "Python" => "#7c3aed",
        "Python as it comes" => "#b79df0",
        "shell" => "#65a30d",
        "shell as it comes" => "#a9cf6d",
        // Another build of the operator.
        _ => "#be185d",
    }
}

/// How wide and how high what is drawn in is.
const fn area() -> (f64, f64) {
    (WIDTH - MARGINS.0 - MARGINS.2, HEIGHT - MARGINS.1 - MARGINS.3)
}

impl Picture {
    /// An empty one whose axis goes up to `most` or a little more.
    fn new(title: &str, most: f64) -> Self {
        let unit = 10f64.powf(most.log10().floor());
        let step = [0.2, 0.5, 1.0, 2.0].map(|part| part * unit).into_iter().find(|step| most / step <= 6.0);
        let step = step.unwrap_or(unit);
        let top = (most / step).ceil() * step;
        let mut picture = Self { text: String::new(), top };
        picture.add(&format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">"#
        ));
        picture.add(r##"<rect width="100%" height="100%" fill="#ffffff"/>"##);
        picture.add(&format!(r#"<text x="{}" y="28" font-size="15">{title}</text>"#, MARGINS.0));
        let mut value = 0.0;
        while value <= top {
            let (y, right) = (picture.y(value), WIDTH - MARGINS.2);
            let left = MARGINS.0;
            picture.add(&format!(r##"<line x1="{left}" y1="{y:.1}" x2="{right}" y2="{y:.1}" stroke="#d5d9df"/>"##));
            picture.add(&format!(r#"<text x="{}" y="{:.1}" text-anchor="end">{value}</text>"#, left - 8.0, y + 4.0));
            value += step;
        }
        picture
    }

    fn y(&self, value: f64) -> f64 {
        MARGINS.1 + area().1 * (1.0 - value / self.top)
    }

    fn add(&mut self, element: &str) {
        // Writing into a string cannot fail.
        let _ = writeln!(self.text, "{element}");
    }

    /// Below the axis.
    fn label(&mut self, x: f64, text: &str) {
        let y = HEIGHT - MARGINS.3 + 20.0;
        self.add(&format!(r#"<text x="{x:.1}" y="{y}" text-anchor="middle">{text}</text>"#));
    }

    fn finish(mut self, names: &[String]) -> String {
        for (place, name) in names.iter().enumerate() {
            let (x, y) = (WIDTH - MARGINS.2 + 16.0, MARGINS.1 + 20.0 * place as f64);
            self.add(&format!(r#"<rect x="{x}" y="{y}" width="12" height="12" fill="{}"/>"#, color(name)));
            self.add(&format!(r#"<text x="{}" y="{}">{name}</text>"#, x + 18.0, y + 11.0));
        }
        self.add("</svg>");
        self.text
    }
}
