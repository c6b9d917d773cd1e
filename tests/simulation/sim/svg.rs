//! A timeline as a picture: one lane a candidate, with its belief, its work, its writes and what
//! hit it.

use std::fmt::Write as _;

use leaderelection::Intent;

use super::time::{SECOND, True};
use super::trace::{Entry, Mark};

const LEFT: f64 = 70.0;
const WIDTH: f64 = 1500.0;
const TOP: f64 = 96.0;
const LANE: f64 = 74.0;

const BELIEF: &str = "#2a9d4a";
const WORK: &str = "#3b76c4";
const CRASH: &str = "#777777";
const FREEZE: &str = "#8ec5e8";
const STALL: &str = "#c9b3e6";
const CUT: &str = "#f4a259";
const WRONG: &str = "#d62828";

/// The picture of what happened from `from` to `to`.
pub fn draw(title: &str, nodes: usize, entries: &[Entry], from: True, to: True) -> String {
    let mut picture = Picture { text: String::new(), from, to: to.max(from + 1), nodes };
    let height = TOP + LANE * nodes as f64 + 40.0;
    let full = LEFT + WIDTH + 20.0;
    let _ = writeln!(
        picture.text,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{full}\" height=\"{height}\" \
         viewBox=\"0 0 {full} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
    );
    picture.label(LEFT, 20.0, "16", "#000000", title);
    picture.legend();
    picture.weather(entries);
    picture.axis();
    for node in 0..nodes {
        let own: Vec<&Entry> = entries.iter().filter(|entry| entry.node == Some(node)).collect();
        picture.lane(node, &own);
    }
    for entry in entries {
        if let Mark::Broken(text) = &entry.mark {
            picture.broken(entry.at, text);
        }
    }
    picture.text.push_str("</svg>\n");
    picture.text
}

struct Picture {
    text: String,
    from: True,
    to: True,
    nodes: usize,
}

impl Picture {
    fn x(&self, at: True) -> f64 {
        let at = at.clamp(self.from, self.to);
        LEFT + WIDTH * (at - self.from) as f64 / (self.to - self.from) as f64
    }

    fn shows(&self, at: True) -> bool {
        (self.from..=self.to).contains(&at)
    }

    fn rect(&mut self, span: (True, True), y: f64, height: f64, color: &str, what: &str) {
        let (left, right) = (self.x(span.0), self.x(span.1));
        if span.1 < self.from || span.0 > self.to {
            return;
        }
        let width = (right - left).max(0.5);
        let _ = writeln!(
            self.text,
            "<rect x=\"{left:.2}\" y=\"{y:.1}\" width=\"{width:.2}\" height=\"{height:.1}\" \
             fill=\"{color}\"><title>{what}</title></rect>"
        );
    }

    fn tick(&mut self, at: True, y: f64, height: f64, color: &str, what: &str) {
        if self.shows(at) {
            let x = self.x(at);
            let _ = writeln!(
                self.text,
                "<path d=\"M{x:.2} {y:.1}v{height:.1}\" stroke=\"{color}\"><title>{what}</title>\
                 </path>"
            );
        }
    }

    fn label(&mut self, x: f64, y: f64, size: &str, color: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(
            self.text,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" fill=\"{color}\">{text}</text>"
        );
    }

    fn legend(&mut self) {
        let items = [
            (BELIEF, "believes that it leads"),
            (WORK, "works"),
            (CRASH, "crashed"),
            (FREEZE, "frozen or suspended"),
            (STALL, "election thread stalled"),
            (CUT, "cut off from the store"),
            ("#fdf0e6", "faults happen"),
        ];
        let mut x = LEFT;
        for (color, text) in items {
            let _ = writeln!(
                self.text,
                "<rect x=\"{x}\" y=\"32\" width=\"14\" height=\"14\" fill=\"{color}\" \
                 stroke=\"#999999\" stroke-width=\"0.5\"/>"
            );
            self.label(x + 19.0, 44.0, "12", "#000000", text);
            x += 50.0 + 6.6 * text.len() as f64;
        }
        let ticks = "above a lane: campaign begins (grey), claim (black), release or completion \
                     (magenta), refused (red); in it: renewals";
        self.label(LEFT, 64.0, "12", "#444444", ticks);
    }

    fn weather(&mut self, entries: &[Entry]) {
        let height = LANE * self.nodes as f64;
        let mut began = None;
        for entry in entries {
            match &entry.mark {
                Mark::FaultsBegin => began = Some(entry.at),
                Mark::FaultsEnd => {
                    if let Some(began) = began.take() {
                        self.rect((began, entry.at), TOP, height, "#fdf0e6", "faults happen");
                    }
                }
                Mark::Slow { until } | Mark::Errors { until } => {
                    self.rect((entry.at, *until), TOP - 6.0, 4.0, CUT, &entry.mark.to_string());
                }
                Mark::Corrupted => self.tick(entry.at, TOP - 8.0, 8.0, WRONG, "corrupted"),
                _ => {}
            }
        }
        if let Some(began) = began {
            self.rect((began, self.to), TOP, height, "#fdf0e6", "faults happen");
        }
    }

    /// A mark about every twelfth of the width, at a round number of seconds.
    fn axis(&mut self) {
        let about = ((self.to - self.from) / 12).max(1);
        let rounds = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600, 7200, 36_000];
        let round = rounds.into_iter().find(|round| round * SECOND >= about).unwrap_or(360_000);
        let bottom = TOP + LANE * self.nodes as f64;
        let mut second = (self.from / SECOND).next_multiple_of(round);
        while second * SECOND <= self.to {
            let at = second * SECOND;
            self.tick(at, TOP, bottom - TOP, "#dddddd", "");
            let x = self.x(at) - 10.0;
            self.label(x, bottom + 16.0, "12", "#444444", &format!("{second} s"));
            second += round;
        }
    }

    fn lane(&mut self, node: usize, entries: &[&Entry]) {
        let y = TOP + LANE * node as f64;
        self.label(10.0, y + 42.0, "13", "#000000", &format!("node {node}"));
        let bottom = y + LANE;
        let full = LEFT + WIDTH;
        let _ = writeln!(self.text, "<path d=\"M{LEFT} {bottom}H{full}\" stroke=\"#bbbbbb\"/>");
        self.hits(y, entries);
        self.terms(y, entries);
        for entry in entries {
            let what = entry.mark.to_string();
            match &entry.mark {
                Mark::RunStarted => self.tick(entry.at, y + 4.0, 10.0, "#999999", &what),
                Mark::Committed { intent: Intent::Renew, .. } => {
                    self.tick(entry.at, y + 22.0, 14.0, "#ffffff", &what);
                }
                Mark::Committed { intent: Intent::Acquire, .. } => {
                    self.tick(entry.at, y + 4.0, 14.0, "#000000", &what);
                }
                Mark::Committed { .. } => self.tick(entry.at, y + 4.0, 14.0, "#c2185b", &what),
                Mark::Refused { .. } => self.tick(entry.at, y + 10.0, 8.0, WRONG, &what),
                _ => {}
            }
        }
    }

    /// What has hit a node, from the time that it did.
    fn hits(&mut self, y: f64, entries: &[&Entry]) {
        for entry in entries {
            let (color, until) = match &entry.mark {
                Mark::Crashed { until } => (CRASH, *until),
                Mark::Frozen { until } => (FREEZE, *until),
                Mark::Stalled { until } => (STALL, *until),
                Mark::CutOff { until } => (CUT, *until),
                _ => continue,
            };
            let row = match color {
                CUT => y + 62.0,
                _ => y + 54.0,
            };
            self.rect((entry.at, until), row, 7.0, color, &entry.mark.to_string());
        }
    }

    fn terms(&mut self, y: f64, entries: &[&Entry]) {
        let (mut believes, mut works) = (None, None);
        for entry in entries {
            match &entry.mark {
                Mark::TermBegan { token } => {
                    (believes, works) = (Some((entry.at, *token)), Some(entry.at));
                }
                Mark::BeliefEnded => self.belief(y, believes.take(), entry.at),
                Mark::WorkReturned { .. } | Mark::Crashed { .. } => {
                    if let Some(began) = works.take() {
                        self.rect((began, entry.at), y + 40.0, 9.0, WORK, "works");
                    }
                }
                _ => {}
            }
        }
        self.belief(y, believes, self.to);
        if let Some(began) = works {
            self.rect((began, self.to), y + 40.0, 9.0, WORK, "works");
        }
    }

    fn belief(&mut self, y: f64, term: Option<(True, u64)>, until: True) {
        let Some((began, token)) = term else {
            return;
        };
        self.rect((began, until), y + 22.0, 14.0, BELIEF, &format!("term {token}"));
        let x = self.x(began);
        if self.x(until) - x > 40.0 {
            self.label(x + 3.0, y + 33.0, "11", "#ffffff", &format!("{token}"));
        }
    }

    fn broken(&mut self, at: True, text: &str) {
        let height = LANE * self.nodes as f64 + 14.0;
        self.tick(at, TOP - 14.0, height, WRONG, text);
        let room = 6.5 * text.len() as f64;
        let x = (self.x(at) - room).max(LEFT);
        self.label(x, TOP - 16.0, "12", WRONG, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_is_drawn_in_its_lane_and_text_is_escaped() {
        let entry = |at, node, mark| Entry { at, node, mark };
        let entries = [
            entry(0, None, Mark::FaultsBegin),
            entry(SECOND, Some(1), Mark::TermBegan { token: 7 }),
            entry(3 * SECOND, Some(1), Mark::BeliefEnded),
            entry(4 * SECOND, Some(1), Mark::Broken("a < b".to_owned())),
        ];
        let picture = draw("a & b", 2, &entries, 0, 10 * SECOND);
        assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));
        assert!(picture.contains("a &amp; b") && picture.contains("a &lt; b"));
        assert!(picture.contains("<title>term 7</title>"));
        assert!(picture.contains("fill=\"#2a9d4a\"><title>term 7"));
    }
}
