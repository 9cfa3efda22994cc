//! Drawings of numbers as SVG: lines over an axis, and bars. Pure.
//!
//! A few dozen lines of text draw what a report needs. The library for it (`plotters`) has one maintainer who
//! is short of time and a release every other year, and it measures texts with fonts that machines for load
//! tests do not have.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 52.0;

/// About as many lines of a grid.
const TICKS: f64 = 5.0;

/// Points of one line; of more, some are left out.
const POINTS_MAX: usize = 600;

/// They differ in lightness, too.
const COLOURS: [&str; 5] = ["#1f5fa8", "#d9822b", "#3d9a50", "#a13d8c", "#7a7a7a"];
const LIMIT: &str = "#c0392b";

/// Points from left to right; what is missing at one of them ends the line.
pub(super) type Points = Vec<(f64, Option<f64>)>;

/// What is drawn over an axis of numbers.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) title: String,
    pub(super) across: String,
    pub(super) up: String,
    pub(super) lines: Vec<(String, Points)>,
    pub(super) limit: Option<(String, f64)>,
    /// Moments on the axis across, from and to.
    pub(super) marks: Vec<(f64, f64)>,
}

/// What is drawn side by side.
#[derive(Debug, Default)]
pub(super) struct Bars {
    pub(super) title: String,
    pub(super) up: String,
    pub(super) bars: Vec<(String, f64)>,
    pub(super) limit: Option<(String, f64)>,
}

/// An axis from zero (or below) to a round number.
#[derive(Debug, Clone, Copy)]
struct Axis {
    from: f64,
    to: f64,
    step: f64,
}

impl Axis {
    fn over(numbers: impl Iterator<Item = f64>, from_zero: bool) -> Self {
        let (mut from, mut to) = (f64::INFINITY, f64::NEG_INFINITY);
        for number in numbers.filter(|number| number.is_finite()) {
            from = from.min(number);
            to = to.max(number);
        }
        if from_zero {
            (from, to) = (from.min(0.0), to.max(0.0));
        }
        if !from.is_finite() || !to.is_finite() {
            (from, to) = (0.0, 1.0);
        }
        if to - from <= f64::EPSILON * to.abs().max(1.0) {
            to = from + 1.0;
        }
        let rough = (to - from) / TICKS;
        let magnitude = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * magnitude).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        Self { from: (from / step).floor() * step, to: (to / step).ceil() * step, step }
    }

    fn part(self, number: f64) -> f64 {
        (number - self.from) / (self.to - self.from)
    }

    fn ticks(self) -> impl Iterator<Item = f64> {
        let count = ((self.to - self.from) / self.step).round() as u32;
        (0..=count).map(move |tick| self.from + f64::from(tick) * self.step)
    }

    fn label(self, tick: f64) -> String {
        // Without the rest of a binary fraction.
        let digits = (-self.step.log10().floor()).clamp(0.0, 6.0) as usize;
        match tick.abs() {
            ..100_000.0 => format!("{tick:.digits$}"),
            ..1e9 => format!("{:.digits$}M", tick / 1e6, digits = if self.step < 1e6 { 2 } else { 0 }),
            _ => format!("{:.1}G", tick / 1e9),
        }
    }
}

fn x(part: f64) -> f64 {
    LEFT + part * (WIDTH - LEFT - RIGHT)
}

fn y(part: f64) -> f64 {
    HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A drawing under way. Writing to a String cannot fail.
#[derive(Debug)]
struct Svg(String);

impl Svg {
    fn begin(title: &str, up: &str) -> Self {
        let mut svg = Self(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"12\" role=\"img\">\n<title>{}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
            escaped(title)
        ));
        svg.text(LEFT, 18.0, "start", title, "font-weight=\"bold\" font-size=\"14\"");
        svg.text(LEFT, 33.0, "start", up, "fill=\"#555\"");
        svg
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str, more: &str) {
        let text = escaped(text);
        let _ =
            writeln!(self.0, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {more}>{text}</text>");
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), more: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        let _ =
            writeln!(self.0, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {more}/>");
    }

    fn rectangle(&mut self, x: f64, y: f64, width: f64, height: f64, more: &str) {
        let _ = writeln!(
            self.0,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" {more}/>"
        );
    }

    fn grid(&mut self, up: Axis) {
        for tick in up.ticks() {
            let at = y(up.part(tick));
            self.line((LEFT, at), (WIDTH - RIGHT, at), "stroke=\"#ddd\"");
            self.text(LEFT - 6.0, at + 4.0, "end", &up.label(tick), "fill=\"#555\"");
        }
    }

    fn limit(&mut self, up: Axis, limit: Option<&(String, f64)>) {
        let Some((name, value)) = limit else { return };
        let at = y(up.part(*value));
        self.line((LEFT, at), (WIDTH - RIGHT, at), &format!("stroke=\"{LIMIT}\" stroke-dasharray=\"6 4\""));
        self.text(WIDTH - RIGHT, at - 4.0, "end", name, &format!("fill=\"{LIMIT}\""));
    }

    fn end(mut self) -> String {
        self.0 += "</svg>\n";
        self.0
    }
}

impl Lines {
    pub(super) fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|(_, points)| points);
        let across = Axis::over(points().map(|(x, _)| *x), false);
        let limit = self.limit.iter().map(|(_, value)| *value);
        let up = Axis::over(points().filter_map(|(_, y)| *y).chain(limit), true);
        let mut svg = Svg::begin(&self.title, &self.up);
        for (from, to) in &self.marks {
            let (from, to) = (x(across.part(from.max(across.from))), x(across.part(to.min(across.to))));
            let width = (to - from).max(1.5);
            svg.rectangle(from, y(1.0), width, y(0.0) - y(1.0), "fill=\"#c0392b\" fill-opacity=\"0.15\"");
        }
        svg.grid(up);
        for tick in across.ticks() {
            svg.text(x(across.part(tick)), y(0.0) + 16.0, "middle", &across.label(tick), "fill=\"#555\"");
        }
        svg.text(x(0.5), HEIGHT - 18.0, "middle", &self.across, "fill=\"#555\"");
        let mut beside = LEFT;
        for ((name, points), colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            let each = points.len().div_ceil(POINTS_MAX).max(1);
            let points: Vec<_> = points.iter().step_by(each).collect();
            for run in points.split(|(_, y)| y.is_none()) {
                let path: Vec<String> = run
                    .iter()
                    .filter_map(|(px, py)| {
                        Some(format!("{:.1},{:.1}", x(across.part(*px)), y(up.part((*py)?))))
                    })
                    .collect();
                let _ = match path.as_slice() {
                    [] => Ok(()),
                    [one] => {
                        let (cx, cy) = one.split_once(',').unwrap_or_default();
                        writeln!(svg.0, "<circle cx=\"{cx}\" cy=\"{cy}\" r=\"3\" fill=\"{colour}\"/>")
                    }
                    _ => writeln!(
                        svg.0,
                        "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\" points=\"{}\"/>",
                        path.join(" ")
                    ),
                };
            }
            svg.rectangle(beside, HEIGHT - 12.0, 10.0, 4.0, &format!("fill=\"{colour}\""));
            svg.text(beside + 14.0, HEIGHT - 6.0, "start", name, "fill=\"#333\"");
            beside += 34.0 + 6.6 * name.chars().count() as f64;
        }
        svg.limit(up, self.limit.as_ref());
        svg.end()
    }
}

impl Bars {
    pub(super) fn svg(&self) -> String {
        let limit = self.limit.iter().map(|(_, value)| *value);
        let up = Axis::over(self.bars.iter().map(|(_, value)| *value).chain(limit), true);
        let mut svg = Svg::begin(&self.title, &self.up);
        svg.grid(up);
        let each = (WIDTH - LEFT - RIGHT) / self.bars.len().max(1) as f64;
        for (at, (name, value)) in self.bars.iter().enumerate() {
            let left = LEFT + at as f64 * each;
            let (top, bottom) = (y(up.part(value.max(0.0))), y(up.part(value.min(0.0))));
            let colour = format!("fill=\"{}\"", COLOURS[0]);
            svg.rectangle(left + each * 0.2, top, each * 0.6, (bottom - top).max(0.5), &colour);
            let value = if value.abs() < 100.0 { format!("{value:.2}") } else { format!("{value:.0}") };
            svg.text(left + each / 2.0, top - 4.0, "middle", &value, "fill=\"#333\"");
            svg.text(left + each / 2.0, y(0.0) + 16.0, "middle", name, "fill=\"#555\"");
        }
        svg.limit(up, self.limit.as_ref());
        svg.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_whole(svg: &str) {
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn axes_end_at_round_numbers() {
        let axis = Axis::over([3.0, 87.0].into_iter(), true);
        assert_eq!((axis.from, axis.to, axis.step), (0.0, 100.0, 20.0));
        assert_eq!(axis.ticks().count(), 6);
        let axis = Axis::over([0.013].into_iter(), true);
        assert_eq!(axis.label(axis.step), "0.005");
        assert_eq!(Axis::over(std::iter::empty(), true).to, 1.0);
        assert!(Axis::over([5.0, 5.0].into_iter(), false).to > 5.0);
    }

    #[test]
    fn a_line_ends_where_a_point_is_missing() {
        let points =
            vec![(0.0, Some(1.0)), (1.0, Some(2.0)), (2.0, None), (3.0, Some(9.0)), (4.0, Some(8.0))];
        let lines = Lines {
            title: "a < b & c".to_owned(),
            lines: vec![("one".to_owned(), points)],
            limit: Some(("limit".to_owned(), 20.0)),
            marks: vec![(1.0, 1.0)],
            ..Lines::default()
        };
        let svg = lines.svg();
        is_whole(&svg);
        assert_eq!(svg.matches("<polyline").count(), 2, "{svg}");
        assert!(svg.contains("a &lt; b &amp; c"), "{svg}");
    }

    #[test]
    fn nothing_and_one_can_be_drawn() {
        is_whole(&Lines::default().svg());
        is_whole(&Bars::default().svg());
        is_whole(
            &Lines { lines: vec![("one".to_owned(), vec![(1.0, Some(0.0))])], ..Lines::default() }.svg(),
        );
        let bars = Bars { bars: vec![("a".to_owned(), -2.0), ("b".to_owned(), 1e7)], ..Bars::default() };
        is_whole(&bars.svg());
    }
}
