//! Draws what was measured last as SVG, into `benches/plots`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use crate::report::{Kind, Row, display, saved};

const WIDTH: f64 = 860.0;
/// Where the axis begins, right of the names, and where it ends, left of the last number.
const LEFT: f64 = 250.0;
const RIGHT: f64 = WIDTH - 90.0;
const LINE: f64 = 22.0;

pub fn draw() -> io::Result<()> {
    let rows = saved()?;
    let plots = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/plots");
    fs::create_dir_all(&plots)?;
    let of = |group: &str| rows.iter().filter(|row| row.group == group).collect::<Vec<_>>();
    let drawings = [
        ("hand-over", bars("Hand-over after a release, on one host", &of("hand-over"))),
        ("take-over", bars("Take-over after SIGKILL of the leader", &of("take-over"))),
        ("electors", curves(&rows)),
    ];
    for (name, svg) in drawings {
        match svg {
            Some(svg) => {
                let path = plots.join(format!("{name}.svg"));
                fs::write(&path, svg)?;
                println!("drawn: benches/plots/{name}.svg");
            }
            None => println!("not drawn: {name}, nothing of it was measured"),
        }
    }
    Ok(())
}

fn color(kind: Kind) -> &'static str {
    match kind {
        Kind::Own => "#0b6bcb",
        Kind::Peer => "#7a7f87",
        Kind::Limit => "#2e8b57",
    }
}

/// A logarithmic axis of whole decades.
struct Decades {
    first: i32,
    last: i32,
    from: f64,
    to: f64,
}

impl Decades {
    fn over(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Self {
        let least = values.clone().fold(f64::INFINITY, f64::min);
        let most = values.fold(f64::NEG_INFINITY, f64::max);
        let first = least.log10().floor() as i32;
        Self { first, last: (most.log10().ceil() as i32).max(first + 1), from, to }
    }

    fn place(&self, value: f64) -> f64 {
        let share = (value.log10() - f64::from(self.first)) / f64::from(self.last - self.first);
        self.from + (self.to - self.from) * share.clamp(0.0, 1.0)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        (self.first..=self.last).map(|power| 10f64.powi(power))
    }
}

/// A point at the median and a line to the 99th percentile for each row, below its case.
fn bars(title: &str, rows: &[&Row]) -> Option<String> {
    let rows: Vec<&&Row> = rows.iter().filter(|row| row.unit == "ns" && row.median > 0.0).collect();
    if rows.is_empty() {
        return None;
    }
    // In the order in which they were first measured.
    let mut cases: Vec<&str> = Vec::new();
    for row in &rows {
        if !cases.contains(&row.case.as_str()) {
            cases.push(&row.case);
        }
    }
    let top = 74.0;
    let bottom = top + LINE * (rows.len() as f64 + cases.len() as f64 * 1.4);
    let values = rows.iter().flat_map(|row| [row.median, row.p99]);
    let axis = Decades::over(values, LEFT, RIGHT);
    let mut svg = opening(title, "a point: the median; its line: to the 99th percentile", bottom);
    for tick in axis.ticks() {
        let x = axis.place(tick);
        line(&mut svg, (x, top - 14.0), (x, bottom), "#dfe3e8", 1.0);
        text(&mut svg, (x, bottom + 18.0), "middle", "#57606a", 12, &tick_name(tick, "ns"));
    }
    let mut y = top;
    for case in cases {
        y += LINE * 0.4;
        text(&mut svg, (14.0, y + 4.0), "start", "#1f2328", 13, case);
        for row in rows.iter().filter(|row| row.case == case) {
            y += LINE;
            bar(&mut svg, &axis, row, y);
        }
        y += LINE;
    }
    Some(svg + "</svg>\n")
}

fn bar(svg: &mut String, axis: &Decades, row: &Row, y: f64) {
    let (median, p99, color) = (axis.place(row.median), axis.place(row.p99), color(row.kind));
    text(svg, (LEFT - 14.0, y + 4.0), "end", color, 12, &row.subject);
    line(svg, (median, y), (p99, y), color, 3.0);
    let _ = writeln!(svg, r#"<circle cx="{median:.1}" cy="{y:.1}" r="5" fill="{color}"/>"#);
    text(svg, (p99.max(median) + 9.0, y + 4.0), "start", color, 12, &display(row.median, "ns"));
}

/// What a candidate costs, by the number of candidates: one curve for each unit and way.
fn curves(rows: &[Row]) -> Option<String> {
    let mut series: BTreeMap<(&str, String), Vec<(f64, f64)>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.subject.ends_with(", each") && row.median > 0.0) {
        let count = row.case.split(' ').next().and_then(|word| word.replace(',', "").parse().ok());
        let Some(count) = count else { continue };
        let way = match row.group.as_str() {
            "crowd" => "an elector each",
            _ => "one pool",
        };
        series.entry((&row.unit, way.to_owned())).or_default().push((count, row.median));
    }
    if series.is_empty() {
        return None;
    }
    let mut svg =
        opening("Cost of each candidate, by their number, while nothing changes", "", 330.0);
    for (at, unit) in ["% of a core", "KiB"].into_iter().enumerate() {
        let left = 80.0 + at as f64 * (WIDTH / 2.0);
        let own: Vec<_> = series.iter().filter(|((known, _), _)| *known == unit).collect();
        panel(&mut svg, left, unit, &own);
    }
    Some(svg + "</svg>\n")
}

type Curve<'a> = (&'a (&'a str, String), &'a Vec<(f64, f64)>);

fn panel(svg: &mut String, left: f64, unit: &str, curves: &[Curve<'_>]) {
    let (right, top, bottom) = (left + WIDTH / 2.0 - 120.0, 70.0, 290.0);
    let points = || curves.iter().flat_map(|(_, points)| points.iter());
    if points().next().is_none() {
        return;
    }
    let across = Decades::over(points().map(|point| point.0), left, right);
    let up = Decades::over(points().map(|point| point.1), bottom, top);
    for tick in across.ticks() {
        let x = across.place(tick);
        line(svg, (x, top), (x, bottom), "#dfe3e8", 1.0);
        text(svg, (x, bottom + 18.0), "middle", "#57606a", 12, &tick_name(tick, ""));
    }
    for tick in up.ticks() {
        let y = up.place(tick);
        line(svg, (left, y), (right, y), "#dfe3e8", 1.0);
        text(svg, (left - 8.0, y + 4.0), "end", "#57606a", 12, &tick_name(tick, ""));
    }
    text(svg, (left, top - 12.0), "start", "#1f2328", 13, &format!("{unit}, each"));
    text(svg, ((left + right) / 2.0, bottom + 36.0), "middle", "#57606a", 12, "candidates");
    for ((_, way), points) in curves {
        let color = if way == "one pool" { "#0b6bcb" } else { "#7a7f87" };
        let mut points: Vec<_> =
            points.iter().map(|point| (across.place(point.0), up.place(point.1))).collect();
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        for pair in points.windows(2) {
            line(svg, pair[0], pair[1], color, 2.0);
        }
        for (x, y) in &points {
            let _ = writeln!(svg, r#"<circle cx="{x:.1}" cy="{y:.1}" r="4" fill="{color}"/>"#);
        }
        if let Some((x, y)) = points.last() {
            text(svg, (*x, y - 10.0), "end", color, 12, way);
        }
    }
}

fn tick_name(value: f64, unit: &str) -> String {
    let number = |value: f64| match value {
        value if value < 1.0 => format!("{value}"),
        value => format!("{value:.0}"),
    };
    match unit {
        "ns" if value < 1e3 => format!("{} ns", number(value)),
        "ns" if value < 1e6 => format!("{} µs", number(value / 1e3)),
        "ns" if value < 1e9 => format!("{} ms", number(value / 1e6)),
        "ns" => format!("{} s", number(value / 1e9)),
        _ => number(value),
    }
}

/// The frame, which ends a little below `bottom`, with a title.
fn opening(title: &str, note: &str, bottom: f64) -> String {
    let height = bottom + 34.0;
    let mut svg =
        format!(r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0}" "#);
    let _ = writeln!(svg, r#"width="{WIDTH}" height="{height:.0}" font-family="sans-serif">"#);
    let _ = writeln!(svg, r#"<rect width="100%" height="100%" rx="8" fill="white"/>"#);
    text(&mut svg, (14.0, 28.0), "start", "#1f2328", 17, title);
    text(&mut svg, (14.0, 47.0), "start", "#57606a", 12, note);
    svg
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), color: &str, width: f64) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let ends = format!(r#"x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}""#);
    let _ = writeln!(svg, r#"<line {ends} stroke="{color}" stroke-width="{width}"/>"#);
}

fn text(svg: &mut String, at: (f64, f64), anchor: &str, color: &str, size: u32, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let place = format!(r#"x="{:.1}" y="{:.1}" text-anchor="{anchor}""#, at.0, at.1);
    let _ = writeln!(svg, r#"<text {place} fill="{color}" font-size="{size}">{text}</text>"#);
}
