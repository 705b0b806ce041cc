//! SVG as text: shapes whose classes a style sheet colours, and axes.

use std::fmt::Write as _;

/// Colours of plots, in a page and in files of their own, light and dark.
pub const STYLE: &str = include_str!("plot.css");

/// What means something in markup, written so that it does not.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // Other control characters are none of XML's.
            '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' => safe.push('\u{fffd}'),
            _ => safe.push(character),
        }
    }
    safe
}

/// A picture on its way.
#[derive(Clone, Debug)]
pub struct Svg {
    /// The name of its file, without an ending.
    pub name: String,
    title: String,
    size: [f64; 2],
    body: String,
}

/// How wide about a text is, in the units of a picture.
pub fn text_width(text: &str) -> f64 {
    6.4 * text.chars().count() as f64
}

impl Svg {
    /// An empty picture of that width and height.
    pub fn new(name: impl Into<String>, title: impl Into<String>, size: [f64; 2]) -> Self {
        Self { name: name.into(), title: title.into(), size, body: String::new() }
    }

    /// A straight line.
    pub fn line(&mut self, class: &str, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) {
        let _ = writeln!(
            self.body,
            r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        );
    }

    /// A line through some points.
    pub fn path(&mut self, class: &str, points: &[[f64; 2]]) {
        let points: Vec<_> = points.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(self.body, r#"<polyline class="{class}" points="{}"/>"#, points.join(" "));
    }

    /// A rectangle, as opaque as that.
    pub fn rect(&mut self, class: &str, [x, y]: [f64; 2], [w, h]: [f64; 2], opacity: f64, tip: &str) {
        let tip = escape(tip);
        let _ = writeln!(
            self.body,
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{w:.1}" height="{h:.1}" fill-opacity="{opacity:.2}"><title>{tip}</title></rect>"#
        );
    }

    /// A point, with what it stands for.
    pub fn point(&mut self, class: &str, [x, y]: [f64; 2], radius: f64, tip: &str) {
        let tip = escape(tip);
        let _ = writeln!(
            self.body,
            r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="{radius}"><title>{tip}</title></circle>"#
        );
    }

    /// A text; the classes `middle` and `end` say which part of it is at the place.
    pub fn text(&mut self, class: &str, [x, y]: [f64; 2], text: &str) {
        let text = escape(text);
        let _ = writeln!(self.body, r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{text}</text>"#);
    }

    /// A text that rises by so many degrees, with its middle at the place.
    pub fn rising(&mut self, class: &str, [x, y]: [f64; 2], degrees: f64, text: &str) {
        let text = escape(text);
        let _ = writeln!(
            self.body,
            r#"<text class="middle {class}" transform="translate({x:.1} {y:.1}) rotate({:.1})">{text}</text>"#,
            -degrees
        );
    }

    /// For a page that has the [`STYLE`].
    pub fn inline(&self) -> String {
        self.element(&format!(r#" style="max-width: {:.0}px""#, self.size[0]), "")
    }

    /// A file of its own.
    pub fn file(&self) -> String {
        let [w, h] = self.size;
        let attributes = format!(r#" xmlns="http://www.w3.org/2000/svg" width="{w:.0}" height="{h:.0}""#);
        let ground = format!(
            "<style>\n{STYLE}</style>\n<rect class=\"ground\" width=\"{w:.0}\" height=\"{h:.0}\"/>\n"
        );
        self.element(&attributes, &ground)
    }

    fn element(&self, attributes: &str, before: &str) -> String {
        let ([w, h], title) = (self.size, escape(&self.title));
        format!(
            "<svg class=\"plot\" role=\"img\" aria-label=\"{title}\" viewBox=\"0 0 {w:.0} {h:.0}\"{attributes}>\n{before}{}</svg>\n",
            self.body
        )
    }
}

/// A logarithmic axis: from which value to which, and where these lie in a picture.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    values: [f64; 2],
    places: [f64; 2],
    base: f64,
}

impl Axis {
    /// Around all of the values, ending at round ones.
    pub fn around(values: impl IntoIterator<Item = f64>, places: [f64; 2]) -> Self {
        Self::with_base(values, places, 10.0)
    }

    /// The same, with ticks at powers of two.
    pub fn of_lengths(values: impl IntoIterator<Item = f64>, places: [f64; 2]) -> Self {
        Self::with_base(values, places, 2.0)
    }

    fn with_base(values: impl IntoIterator<Item = f64>, places: [f64; 2], base: f64) -> Self {
        let finite = values.into_iter().filter(|value| value.is_finite() && *value > 0.0);
        let [low, high] = finite.fold([f64::INFINITY, 0.0], |[low, high], x| [x.min(low), x.max(high)]);
        let [low, high] = if low.is_finite() { [low, high] } else { [1.0, base] };
        // Some room beside the outermost values.
        let room = (high / low).powf(0.04).max(1.1);
        Self { values: [low / room, high * room], places, base }
    }

    /// Where a value lies; what is beyond an end lies at it.
    pub fn at(&self, value: f64) -> f64 {
        let ([low, high], [from, to]) = (self.values, self.places);
        let share = (value.max(1e-300) / low).ln() / (high / low).ln();
        from + share.clamp(0.0, 1.0) * (to - from)
    }

    /// Whether a value lies between the ends.
    pub fn has(&self, value: f64) -> bool {
        (self.values[0]..=self.values[1]).contains(&value)
    }

    /// The ends.
    pub fn ends(&self) -> [f64; 2] {
        self.values
    }

    /// Round values: powers of the base, fewer of them where they are many, with steps between where they are few.
    pub fn ticks(&self) -> Vec<f64> {
        let [low, high] = self.values.map(|value| value.ln() / self.base.ln());
        let decades = high - low;
        let every = (decades / 7.0).ceil().max(1.0);
        // As many as there is room for.
        let between: &[f64] = match (self.base > 2.0, (self.places[1] - self.places[0]).abs() / decades) {
            (true, 300.0..) => &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
            (true, 100.0..) => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        let first = (low / every).floor() as i32;
        let last = (high / every).ceil() as i32;
        let powers = (first..=last).map(|power| self.base.powf(f64::from(power) * every));
        let all = powers.flat_map(|power| between.iter().map(move |step| step * power));
        all.filter(|tick| self.has(*tick)).collect()
    }
}

/// A value with three digits and the letter of its thousands.
pub fn short(value: f64) -> String {
    let (scale, letter) = match value.abs() {
        1e15.. => (1e15, "P"),
        1e12.. => (1e12, "T"),
        1e9.. => (1e9, "G"),
        1e6.. => (1e6, "M"),
        1e3.. => (1e3, "k"),
        _ => (1.0, ""),
    };
    let scaled = value / scale;
    let digits = match scaled.abs() {
        99.5.. => 0,
        9.95.. => 1,
        0.095.. => 2,
        _ => 3,
    };
    let text = format!("{scaled:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}{letter}", if letter.is_empty() { "" } else { " " })
}

/// A power of two as people write lengths: 512, 8 Ki, 1 Mi.
pub fn length(value: f64) -> String {
    let (scale, letter) = match value {
        1_048_576.0.. => (1_048_576.0, " Mi"),
        1024.0.. => (1024.0, " Ki"),
        _ => (1.0, ""),
    };
    let scaled = value / scale;
    if scaled.fract() == 0.0 { format!("{scaled:.0}{letter}") } else { format!("{value:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_a_file_becomes_markup() {
        assert_eq!(escape("<b>&\"'\u{1}</b>"), "&lt;b&gt;&amp;&quot;&#39;\u{fffd}&lt;/b&gt;");
        let mut svg = Svg::new("n", "a \"title\" <x>", [10.0, 20.0]);
        svg.point("p", [1.0, 2.0], 3.0, "<script>");
        svg.text("t", [1.0, 2.0], "a & b");
        let text = svg.inline();
        assert!(!text.contains("<script>") && !text.contains("<x>") && text.contains("a &amp; b"), "{text}");
        assert!(svg.file().contains("prefers-color-scheme: dark"));
    }

    #[test]
    fn axes_end_around_their_values_and_have_round_ticks() {
        let axis = Axis::around([2.0, 3000.0], [0.0, 100.0]);
        assert_eq!(axis.ticks(), [10.0, 100.0, 1000.0]);
        assert!(axis.at(2.0) > 0.0 && axis.at(3000.0) < 100.0);
        assert!((axis.at(100.0) - axis.at(10.0) - (axis.at(1000.0) - axis.at(100.0))).abs() < 1e-9);
        assert!((axis.at(1e9) - 100.0).abs() < 1e-9);
        let narrow = Axis::around([1.0, 4.0], [0.0, 400.0]).ticks();
        assert!(narrow.len() >= 3, "{narrow:?}");
        let wide = Axis::of_lengths([512.0, 1_048_576.0], [0.0, 100.0]).ticks();
        assert!(
            (3..=9).contains(&wide.len()) && wide.iter().all(|tick| tick.log2().fract() == 0.0),
            "{wide:?}"
        );
        assert!(!Axis::around([], [0.0, 1.0]).ticks().is_empty());
    }

    #[test]
    fn values_are_written_short() {
        let written = [0.0125, 0.5, 1.0, 12.34, 999.0, 1234.0, 6.4e13].map(short);
        assert_eq!(written, ["0.013", "0.5", "1", "12.3", "999", "1.23 k", "64 T"]);
        assert_eq!(
            [512.0, 8192.0, 1_048_576.0, 1000.0, 3000.0].map(length),
            ["512", "8 Ki", "1 Mi", "1000", "3000"]
        );
    }
}
