//! A timeline as a picture: one lane a candidate, with its belief, its work, its writes and what
//! hit it.

use std::fmt::Write as _;

use leaderelection::Intent;

use super::time::{SECOND, True};
use super::trace::{Entry, Mark};

const LEFT: f64 = 126.0;
const WIDTH: f64 = 1080.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 128.0;
const LANE: f64 = 76.0;

/// Where things stand in a lane, and how high they are.
const MARKS: f64 = 5.0;
const BELIEF_ROW: (f64, f64) = (20.0, 17.0);
const WORK_ROW: (f64, f64) = (39.0, 8.0);
const HIT_ROW: (f64, f64) = (51.0, 7.0);
const CUT_ROW: (f64, f64) = (61.0, 7.0);

const BELIEF: &str = "#22863a";
const WORK: &str = "#3b76c4";
const ORPHAN: &str = "#a9c7ee";
const CRASH: &str = "#6b6b6b";
const FREEZE: &str = "#7cc4e8";
const STALL: &str = "#b79be0";
const CUT: &str = "#f08c2e";
const STORM: &str = "#fdf3e7";
const WRONG: &str = "#d62828";
const RELEASE: &str = "#c2185b";
const INK: &str = "#222222";
const FAINT: &str = "#8a8a8a";

/// About what a letter takes, in the size of the font.
const LETTER: f64 = 0.56;

/// The picture of what happened from `from` to `to`; a lane has a name.
pub fn draw(title: &str, lanes: &[String], entries: &[Entry], from: True, to: True) -> String {
    let mut picture = Picture { text: String::new(), from, to: to.max(from + 1) };
    let height = TOP + LANE * lanes.len() as f64 + 34.0;
    let full = LEFT + WIDTH + RIGHT;
    let _ = writeln!(
        picture.text,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{full}\" height=\"{height}\" \
         viewBox=\"0 0 {full} {height}\" font-family=\"Helvetica, Arial, sans-serif\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
    );
    picture.label((20.0, 27.0), 17.0, INK, title);
    picture.legend();
    let lanes_height = LANE * lanes.len() as f64;
    picture.weather(entries, lanes_height);
    picture.axis(lanes_height);
    for (node, name) in lanes.iter().enumerate() {
        let own: Vec<&Entry> = entries.iter().filter(|entry| entry.node == Some(node)).collect();
        picture.lane(TOP + LANE * node as f64, name, &own);
    }
    for entry in entries {
        if let Mark::Broken(text) = &entry.mark {
            picture.broken(entry.at, text, lanes_height);
        }
    }
    picture.text.push_str("</svg>\n");
    picture.text
}

struct Picture {
    text: String,
    from: True,
    to: True,
}

impl Picture {
    fn x(&self, at: True) -> f64 {
        let at = at.clamp(self.from, self.to);
        LEFT + WIDTH * (at - self.from) as f64 / (self.to - self.from) as f64
    }

    fn shows(&self, at: True) -> bool {
        (self.from..=self.to).contains(&at)
    }

    /// A bar over a span of time.
    fn bar(&mut self, span: (True, True), (y, height): (f64, f64), color: &str, what: &str) {
        let (left, right) = (self.x(span.0), self.x(span.1));
        if span.1 < self.from || span.0 > self.to {
            return;
        }
        let (width, what) = ((right - left).max(1.5), escaped(what));
        let _ = writeln!(
            self.text,
            "<rect x=\"{left:.1}\" y=\"{y:.0}\" width=\"{width:.1}\" height=\"{height:.0}\" \
             fill=\"{color}\"><title>{what}</title></rect>"
        );
    }

    /// A path with its upper middle at the time.
    fn shape(&mut self, at: True, y: f64, path: &str, color: &str, what: &str) {
        if self.shows(at) {
            let (x, what) = (self.x(at), escaped(what));
            let _ = writeln!(
                self.text,
                "<path d=\"M{x:.1} {y:.0}{path}\" fill=\"{color}\" stroke=\"{color}\">\
                 <title>{what}</title></path>"
            );
        }
    }

    fn label(&mut self, (x, y): (f64, f64), size: f64, color: &str, text: &str) {
        let text = escaped(text);
        let _ = writeln!(
            self.text,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" fill=\"{color}\">{text}</text>"
        );
    }

    fn legend(&mut self) {
        let bars = [
            (BELIEF, "believes that it leads; white: renewals"),
            (WORK, "works"),
            (ORPHAN, "works on without its process"),
            (CRASH, "down"),
            (FREEZE, "frozen"),
            (STALL, "thread stalled"),
            (CUT, "cut off"),
            (STORM, "faults"),
        ];
        let mut x = 20.0;
        for (color, text) in bars {
            let _ = writeln!(
                self.text,
                "<rect x=\"{x:.0}\" y=\"45\" width=\"16\" height=\"10\" fill=\"{color}\" \
                 stroke=\"#bbbbbb\" stroke-width=\"0.5\"/>"
            );
            self.label((x + 22.0, 54.0), 13.0, INK, text);
            x += 38.0 + 13.0 * LETTER * text.len() as f64;
        }
        let marks = [
            (CLAIM, INK, "claim"),
            (DIAMOND, RELEASE, "release or completion"),
            (CROSS, WRONG, "write refused"),
            (TICK, FAINT, "campaign begins"),
        ];
        let mut x = 28.0;
        for (path, color, text) in marks {
            let _ = writeln!(
                self.text,
                "<path d=\"M{x:.0} 68{path}\" fill=\"{color}\" stroke=\"{color}\"/>"
            );
            self.label((x + 14.0, 78.0), 13.0, INK, text);
            x += 38.0 + 13.0 * LETTER * text.len() as f64;
        }
    }

    /// What happens to all of them.
    fn weather(&mut self, entries: &[Entry], height: f64) {
        let mut began = None;
        for entry in entries.iter().filter(|entry| entry.node.is_none()) {
            let what = entry.mark.to_string();
            match &entry.mark {
                Mark::FaultsBegin => began = Some(entry.at),
                Mark::FaultsEnd => {
                    if let Some(began) = began.take() {
                        self.bar((began, entry.at), (TOP, height), STORM, "faults happen");
                    }
                }
                Mark::Slow { until } | Mark::Errors { until } => {
                    self.bar((entry.at, *until), (TOP - 12.0, 6.0), CUT, &what);
                    if self.shows(entry.at) && self.x(*until) - self.x(entry.at) > 20.0 {
                        let text = if matches!(entry.mark, Mark::Slow { .. }) {
                            "store slow"
                        } else {
                            "requests fail"
                        };
                        self.label((self.x(entry.at), TOP - 17.0), 11.0, INK, text);
                    }
                }
                Mark::Corrupted => self.shape(entry.at, TOP - 12.0, CROSS, WRONG, &what),
                _ => {}
            }
        }
        if let Some(began) = began {
            self.bar((began, self.to), (TOP, height), STORM, "faults happen");
        }
    }

    /// A mark about every twelfth of the width, at a round number of seconds.
    fn axis(&mut self, height: f64) {
        let about = ((self.to - self.from) / 12).max(1);
        let rounds = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600, 7200, 36_000];
        let round = rounds.into_iter().find(|round| round * SECOND >= about).unwrap_or(360_000);
        let mut second = (self.from / SECOND).next_multiple_of(round);
        while second * SECOND <= self.to {
            let x = self.x(second * SECOND);
            let _ =
                writeln!(self.text, "<path d=\"M{x:.1} {TOP}v{height:.0}\" stroke=\"#dddddd\"/>");
            let text = format!("{second} s");
            let left = x - 12.0 * LETTER * text.len() as f64 / 2.0;
            self.label((left, TOP + height + 18.0), 12.0, FAINT, &text);
            second += round;
        }
    }

    fn lane(&mut self, y: f64, name: &str, entries: &[&Entry]) {
        self.label((20.0, y + 34.0), 14.0, INK, name);
        let (bottom, full) = (y + LANE, LEFT + WIDTH);
        let _ = writeln!(self.text, "<path d=\"M20 {bottom:.0}H{full:.0}\" stroke=\"#bbbbbb\"/>");
        self.hits(y, entries);
        self.terms(y, entries);
        for entry in entries {
            let what = entry.mark.to_string();
            let (path, color) = match &entry.mark {
                Mark::RunStarted => (TICK, FAINT),
                Mark::Committed { intent: Intent::Acquire, .. } => (CLAIM, INK),
                Mark::Committed { intent: Intent::Renew, .. } => continue,
                Mark::Committed { .. } => (DIAMOND, RELEASE),
                Mark::Refused { .. } | Mark::Torn { .. } => (CROSS, WRONG),
                _ => continue,
            };
            self.shape(entry.at, y + MARKS, path, color, &what);
        }
    }

    /// What has hit a node, from the time that it did.
    fn hits(&mut self, y: f64, entries: &[&Entry]) {
        for entry in entries {
            let (color, row, until) = match &entry.mark {
                Mark::Crashed { until } => (CRASH, HIT_ROW, *until),
                Mark::Frozen { until } => (FREEZE, HIT_ROW, *until),
                Mark::Stalled { until } => (STALL, HIT_ROW, *until),
                Mark::CutOff { until } => (CUT, CUT_ROW, *until),
                Mark::OrphanLeft { until } => (ORPHAN, WORK_ROW, *until),
                _ => continue,
            };
            self.bar((entry.at, until), (y + row.0, row.1), color, &entry.mark.to_string());
        }
    }

    fn terms(&mut self, y: f64, entries: &[&Entry]) {
        let (mut believes, mut works) = (None, None);
        for entry in entries {
            match &entry.mark {
                Mark::TermBegan { token } => {
                    (believes, works) = (Some((entry.at, *token)), Some(entry.at));
                }
                Mark::BeliefEnded => self.belief(y, believes.take(), entry.at, entries),
                Mark::WorkReturned { .. } | Mark::Crashed { .. } => {
                    self.work(y, works.take(), entry.at);
                }
                _ => {}
            }
        }
        self.belief(y, believes, self.to, entries);
        self.work(y, works, self.to);
    }

    fn work(&mut self, y: f64, began: Option<True>, until: True) {
        if let Some(began) = began {
            self.bar((began, until), (y + WORK_ROW.0, WORK_ROW.1), WORK, "works");
        }
    }

    fn belief(&mut self, y: f64, term: Option<(True, u64)>, until: True, entries: &[&Entry]) {
        let Some((began, token)) = term else {
            return;
        };
        let (y, height) = (y + BELIEF_ROW.0, BELIEF_ROW.1);
        self.bar((began, until), (y, height), BELIEF, &format!("term {token}"));
        let renewed = |entry: &&&Entry| {
            matches!(entry.mark, Mark::Committed { intent: Intent::Renew, .. })
                && (began..until).contains(&entry.at)
        };
        let x = self.x(began.max(self.from));
        let (name, room) = (format!("term {token}"), self.x(until) - x);
        let taken = 12.0 * LETTER * name.len() as f64 + 10.0;
        let free = if room > taken { x + taken } else { x };
        let mut ticks = String::new();
        for entry in entries.iter().filter(renewed).filter(|entry| self.shows(entry.at)) {
            let tick = self.x(entry.at);
            if tick > free {
                let _ = write!(ticks, "M{tick:.1} {y:.0}v{height:.0}");
            }
        }
        if !ticks.is_empty() {
            let _ = writeln!(self.text, "<path d=\"{ticks}\" stroke=\"white\"/>");
        }
        if room > taken {
            self.label((x + 5.0, y + 13.0), 12.0, "white", &name);
        }
    }

    fn broken(&mut self, at: True, text: &str, height: f64) {
        let line = format!("v{:.0}", height + 14.0);
        self.shape(at, TOP - 14.0, &line, WRONG, text);
        let x = (self.x(at) - 12.0 * LETTER * text.len() as f64).max(LEFT);
        self.label((x, TOP - 18.0), 12.0, WRONG, text);
    }
}

/// The marks, from their upper middle.
const CLAIM: &str = "l-5 0l5 10l5-10z";
const DIAMOND: &str = "l5 5l-5 5l-5-5z";
const CROSS: &str = "m-4 1l8 8m0-8l-8 8";
const TICK: &str = "v10";

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
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
        let lanes = ["one".to_owned(), "two".to_owned()];
        let picture = draw("a & b", &lanes, &entries, 0, 10 * SECOND);
        assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));
        assert!(picture.contains("a &amp; b") && picture.contains("a &lt; b"));
        assert!(picture.contains("<title>term 7</title>"));
        assert!(picture.contains("fill=\"#22863a\"><title>term 7"));
    }
}
