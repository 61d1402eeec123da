//! Small drawings, each a few hundred bytes: fifty instances have to fit on one page.

use std::fmt::Write as _;

use crate::status::Point;

/// Size of a chart in its own units.
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 40.0;
/// Most points of a line.
const MOST: usize = 100;

/// `text` as it stands in HTML.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The beginning of a drawing that is read out as `label`.
pub fn open(width: f64, height: f64, label: &str) -> String {
    format!("<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">", escaped(label))
}

/// The last of each of [`MOST`] parts.
fn thinned<T: Copy>(values: &[T]) -> Vec<T> {
    if values.len() <= MOST {
        return values.to_vec();
    }
    (1..=MOST).filter_map(|part| values.get(part * values.len() / MOST - 1).copied()).collect()
}

fn scale(value: u64, most: u64) -> f64 {
    value as f64 / most.max(1) as f64
}

/// A line of sizes, oldest first.
pub fn line(values: &[u64], label: &str) -> String {
    let values = thinned(values);
    let most = values.iter().copied().max().unwrap_or(0);
    let step = WIDTH / (values.len().max(2) - 1) as f64;
    let mut points = String::new();
    for (number, value) in values.iter().enumerate() {
        let (x, y) = (number as f64 * step, HEIGHT - 2.0 - scale(*value, most) * (HEIGHT - 4.0));
        // Writing into a string does not fail.
        let _ = write!(points, "{x:.0},{y:.0} ");
    }
    let points = points.trim_end();
    format!("{}<polyline class=\"l\" points=\"{points}\"/></svg>", open(WIDTH, HEIGHT, label))
}

/// A bar for what each night added; those that stand out have a mark.
pub fn bars(points: &[Point], label: &str) -> String {
    // A peak must not get lost between others: of each part the highest is shown.
    let parts = points.len().clamp(1, MOST);
    let highest: Vec<&Point> = (0..parts)
        .filter_map(|part| {
            let part =
                points.get(part * points.len() / parts..(part + 1) * points.len() / parts)?;
            let rank = |point: &&Point| (point.anomaly.is_some(), point.added);
            part.iter().max_by_key(rank)
        })
        .collect();
    let most = highest.iter().map(|point| point.added).max().unwrap_or(0);
    let step = WIDTH / parts as f64;
    let (mut bars, mut odd) = (String::new(), String::new());
    for (number, point) in highest.iter().enumerate() {
        let x = number as f64 * step + step / 2.0;
        let height = (scale(point.added, most) * (HEIGHT - 8.0)).max(1.0);
        let _ = write!(bars, "M{x:.0} {:.0}V{HEIGHT:.0}", HEIGHT - height);
        if point.anomaly.is_some() {
            let _ = write!(odd, "M{x:.0} 1l4 6h-8z");
        }
    }
    let width = (step * 0.7).clamp(1.0, 12.0);
    let odd = if odd.is_empty() { odd } else { format!("<path class=\"o\" d=\"{odd}\"/>") };
    format!(
        "{}<path class=\"b\" stroke-width=\"{width:.1}\" d=\"{bars}\"/>{odd}</svg>",
        open(WIDTH, HEIGHT, label)
    )
}
