//! Two kinds of pictures: bars and lines. Plain SVG, written by hand.

use std::fmt::Write;

use crate::results::{Value, number};

/// One thing that is compared.
pub(crate) struct Bar {
    pub(crate) label: String,
    pub(crate) value: Value,
    pub(crate) ours: bool,
}

const WIDTH: f64 = 760.0;
const LEFT: f64 = 140.0;
const RIGHT: f64 = 110.0;
const ROW: f64 = 20.0;
const TITLE: f64 = 34.0;
const PANEL: f64 = 30.0;
/// A bar longer than so many of the shortest is cut; its number is not.
const LONGEST: f64 = 6.0;
const OURS: &str = "#c2410c";
const OTHERS: &str = "#64748b";
const COLOURS: [&str; 6] = [OURS, "#2563eb", "#15803d", "#7c3aed", "#a16207", "#0891b2"];

fn begin(height: f64, title: &str) -> String {
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#0f172a\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    words(&mut text, 12.0, 21.0, "start", "#0f172a", title);
    text
}

fn words(text: &mut String, x: f64, y: f64, anchor: &str, colour: &str, what: &str) {
    let what = what.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        text,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{what}</text>"
    );
}

/// A panel of bars for each scenario; less is better.
pub(crate) fn bars(title: &str, panels: &[(String, Vec<Bar>)]) -> String {
    let rows: usize = panels.iter().map(|(_, bars)| bars.len()).sum();
    let height = TITLE + PANEL * panels.len() as f64 + ROW * rows as f64 + 10.0;
    let mut text = begin(height, title);
    let mut y = TITLE;
    for (name, bars) in panels {
        y += PANEL;
        words(&mut text, 12.0, y - 8.0, "start", "#334155", name);
        let medians = || bars.iter().map(|bar| bar.value.median);
        let least = medians().fold(f64::INFINITY, f64::min);
        let full = medians().fold(0.0, f64::max).min(least.max(1e-9) * LONGEST).max(1e-9);
        for bar in bars {
            row(&mut text, y, bar, full);
            y += ROW;
        }
    }
    text.push_str("</svg>\n");
    text
}

fn row(text: &mut String, y: f64, bar: &Bar, full: f64) {
    let wide = WIDTH - LEFT - RIGHT;
    let at = |value: f64| LEFT + wide * (value / full).clamp(0.0, 1.0);
    let colour = if bar.ours { OURS } else { OTHERS };
    words(text, LEFT - 8.0, y + 13.0, "end", "#0f172a", &bar.label);
    let end = at(bar.value.median);
    let _ = writeln!(
        text,
        "<rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"14\" fill=\"{colour}\"/>",
        y + 2.0,
        (end - LEFT).max(1.0)
    );
    if bar.value.median > full * 1.001 {
        // Cut: two gaps say so.
        for step in [14.0, 24.0] {
            let x = end - step;
            let _ = writeln!(
                text,
                "<path d=\"M{x:.1} {:.1}l6 -14\" stroke=\"#ffffff\" stroke-width=\"4\"/>",
                y + 16.0
            );
        }
    } else if bar.value.rounds > 1 {
        let (from, to) = (at(bar.value.least), at(bar.value.most));
        let middle = y + 9.0;
        let _ = writeln!(
            text,
            "<path d=\"M{from:.1} {middle:.1}H{to:.1}\" stroke=\"#0f172a\" stroke-width=\"1.5\"/>"
        );
    }
    let edge = if bar.value.median > full { end } else { end.max(at(bar.value.most)) };
    words(text, edge + 6.0, y + 13.0, "start", "#0f172a", &number(bar.value.median));
}

/// A line for each name over places that are evenly apart.
pub(crate) fn lines(
    title: &str,
    places: &[&str],
    series: &[(String, Vec<Option<f64>>)],
    top: f64,
) -> String {
    const HEIGHT: f64 = 340.0;
    let (bottom, left) = (HEIGHT - 36.0, 60.0);
    let mut text = begin(HEIGHT, title);
    let x = |at: usize| left + (WIDTH - left - RIGHT) * at as f64 / (places.len() - 1) as f64;
    let y = |value: f64| bottom - (bottom - TITLE - 10.0) * (value / top).min(1.0);
    for (at, place) in places.iter().enumerate() {
        words(&mut text, x(at), bottom + 20.0, "middle", "#334155", place);
    }
    for step in 0..=4 {
        let value = top * f64::from(step) / 4.0;
        let (here, from, to) = (y(value), left, x(places.len() - 1));
        let _ = writeln!(
            text,
            "<path d=\"M{from:.1} {here:.1}H{to:.1}\" stroke=\"#e2e8f0\" fill=\"none\"/>"
        );
        words(&mut text, left - 8.0, here + 4.0, "end", "#334155", &number(value));
    }
    let mut labels: Vec<(f64, &str, &str)> = Vec::new();
    for ((name, values), colour) in series.iter().zip(COLOURS.iter().cycle()) {
        let points: Vec<(f64, f64)> =
            values.iter().enumerate().filter_map(|(at, v)| Some((x(at), y((*v)?)))).collect();
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        let _ = writeln!(
            text,
            "<path d=\"M{}\" stroke=\"{colour}\" stroke-width=\"2\" fill=\"none\"/>",
            path.join("L")
        );
        for (x, y) in &points {
            let _ =
                writeln!(text, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
        }
        if let Some((_, y)) = points.last() {
            labels.push((*y, name, colour));
        }
    }
    // From the top down, each label below the one before.
    labels.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut free = 0.0;
    for (y, name, colour) in labels {
        let y = (y + 4.0).max(free);
        words(&mut text, x(places.len() - 1) + 10.0, y, "start", colour, name);
        free = y + 14.0;
    }
    text.push_str("</svg>\n");
    text
}
