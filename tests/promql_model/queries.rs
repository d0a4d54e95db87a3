//! Random queries, as text. Most are valid and select something.

use crate::common::Random;
use crate::data::Data;
use crate::model::Bounds;

/// What becomes of the metric names of a vector in the end. Both in one vector would let the same series have a name at some
/// steps only.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    Kept,
    Dropped,
    None,
}

struct Vector {
    text: String,
    names: Names,
}

pub(crate) struct Maker<'a> {
    pub(crate) random: &'a mut Random,
    pub(crate) data: &'a Data,
}

const LABELS: [&str; 3] = ["job", "instance", "zone"];
const ARITHMETIC: [&str; 8] = ["+", "-", "*", "/", "%", "^", "atan2", "+"];
const COMPARISONS: [&str; 6] = ["==", "!=", ">", "<", ">=", "<="];
const MATH: [&str; 24] = [
    "abs", "ceil", "floor", "sgn", "sqrt", "exp", "ln", "log2", "log10", "sin", "cos", "tan", "asin", "acos",
    "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "deg", "rad", "round",
];
const DATES: [&str; 8] =
    ["minute", "hour", "day_of_week", "day_of_month", "day_of_year", "days_in_month", "month", "year"];
const ROLLUPS: [&str; 29] = [
    "rate",
    "rate",
    "increase",
    "delta",
    "irate",
    "idelta",
    "resets",
    "changes",
    "deriv",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "sum_over_time",
    "count_over_time",
    "last_over_time",
    "first_over_time",
    "present_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "mad_over_time",
    "zscore_over_time",
    "ts_of_first_over_time",
    "ts_of_last_over_time",
    "ts_of_max_over_time",
    "ts_of_min_over_time",
    "quantile_over_time",
    "predict_linear",
    "ema_over_time",
    "double_exponential_smoothing",
];

/// Those that are defined for histograms.
const NATIVE_ROLLUPS: [&str; 15] = [
    "rate",
    "rate",
    "rate",
    "increase",
    "increase",
    "delta",
    "irate",
    "idelta",
    "sum_over_time",
    "avg_over_time",
    "resets",
    "changes",
    "last_over_time",
    "first_over_time",
    "count_over_time",
];

impl Maker<'_> {
    /// A query and its times.
    pub(crate) fn query(&mut self) -> (String, Bounds) {
        let bounds = self.bounds();
        let depth = self.random.pick(&[1, 2, 2, 3, 3, 4]);
        let text = match self.random.below(20) {
            0 => self.scalar(depth),
            1 if bounds.step_ms == 0 => self.range(1).text,
            2 if self.random.percent(40) => {
                let (function, input) = (self.random.pick(&["", "_desc"]), self.vector(depth).text);
                let labels = [r#""instance""#, r#""job", "instance""#, r#""zone", "instance""#];
                format!("sort_by_label{function}({input}, {})", self.random.pick(&labels))
            }
            2 => format!("sort{}({})", self.random.pick(&["", "_desc"]), self.vector(depth).text),
            _ => self.vector(depth).text,
        };
        (text, bounds)
    }

    /// A vector whose series differ in more than their names, and times.
    pub(crate) fn limited(&mut self) -> (String, Bounds) {
        let bounds = self.bounds();
        let name = self.random.pick(&["a", "b", "c_total", "n"]);
        let function = self.random.pick(&["", "rate", "last_over_time", "sum_over_time"]);
        let text = if function.is_empty() { name.to_owned() } else { format!("{function}({name}[5m])") };
        (text, bounds)
    }

    fn bounds(&mut self) -> Bounds {
        let span_s = (self.data.end_ms - self.data.start_ms) / 1000;
        let mut at = self.random.below(span_s as usize + 400) as i64 * 1000;
        if self.random.percent(60) {
            // Where samples are likely to stand.
            at -= at % 15_000;
        }
        let start_ms = self.data.start_ms + at - 60_000;
        if self.random.percent(30) {
            return Bounds { start_ms, end_ms: start_ms, step_ms: 0 };
        }
        let step_ms = self.random.pick(&[1, 5_000, 15_000, 30_000, 60_000, 60_000, 61_234, 300_000]);
        let end_ms = start_ms
            + step_ms * self.random.pick(&[0, 1, 3, 7, 11, 13, 60]) as i64
            + self.random.below(step_ms as usize) as i64;
        Bounds { start_ms, end_ms, step_ms }
    }

    fn number(&mut self) -> String {
        let numbers = ["0", "1", "2", "-1", "0.5", "3", "10", "100", "-7", "0.1", "NaN", "Inf"];
        self.random.pick(&numbers).to_owned()
    }

    fn scalar(&mut self, depth: usize) -> String {
        match self.random.below(if depth == 0 { 6 } else { 10 }) {
            0..4 => self.number(),
            4 => "time()".to_owned(),
            5 => self.random.pick(&["pi()", "start()", "end()", "step()", "range()", "2"]).to_owned(),
            6 if self.random.percent(50) => format!("-({})", self.scalar(depth - 1)),
            6 => {
                let function = self.random.pick(&["min_of", "max_of"]);
                format!("{function}({}, {})", self.scalar(depth - 1), self.scalar(depth - 1))
            }
            7 => {
                let op = self.random.pick(&ARITHMETIC);
                format!("({} {op} {})", self.scalar(depth - 1), self.scalar(depth - 1))
            }
            8 => {
                let op = self.random.pick(&COMPARISONS);
                format!("({} {op} bool {})", self.scalar(depth - 1), self.scalar(depth - 1))
            }
            _ => {
                let inner = self.vector(depth - 1).text;
                let whole = self.random.percent(70);
                if whole { format!("scalar(sum({inner}))") } else { format!("scalar({inner})") }
            }
        }
    }

    fn quantile(&mut self, depth: usize) -> String {
        if self.random.percent(15) {
            return format!("{} / 100", self.scalar(depth.saturating_sub(1)));
        }
        self.random.pick(&["0", "0.1", "0.5", "0.9", "1", "-1", "2", "NaN"]).to_owned()
    }

    /// The parameter of `topk`.
    fn count(&mut self, depth: usize) -> String {
        if self.random.percent(15) {
            return self.scalar(depth.saturating_sub(1));
        }
        self.random.pick(&["1", "2", "3", "0", "-1", "1.9", "100"]).to_owned()
    }

    fn matchers(&mut self) -> String {
        let name = match self.random.below(12) {
            0..9 if self.data.native && self.random.percent(60) => {
                let names = [r#"__name__="n""#, r#"__name__="n""#, r#"__name__="m""#, r#"__name__=~"m|n""#];
                self.random.pick(&names).to_owned()
            }
            0 => r#"__name__=~"a|b""#.to_owned(),
            1 => r#"__name__=~".+""#.to_owned(),
            2 => r#"__name__!="b",job!="""#.to_owned(),
            3..6 => r#"__name__="b""#.to_owned(),
            6..9 => r#"__name__="c_total""#.to_owned(),
            _ => r#"__name__="a""#.to_owned(),
        };
        let others = [
            r#"job="x""#,
            r#"job="y""#,
            r#"job!="x""#,
            r#"instance=~"0|1""#,
            r#"instance!~"0""#,
            r#"instance="1""#,
            r#"zone="""#,
            r#"zone!="""#,
            r#"instance=~".*""#,
            r#"job=~"x|nothing""#,
        ];
        let mut parts = vec![name];
        for _ in 0..self.random.pick(&[0, 0, 0, 1, 1, 2]) {
            parts.push(self.random.pick(&others).to_owned());
        }
        format!("{{{}}}", parts.join(","))
    }

    fn shift(&mut self) -> String {
        let mut shift = String::new();
        if self.random.percent(8) {
            let at = match self.random.below(4) {
                0 => "start()".to_owned(),
                1 => "end()".to_owned(),
                _ => {
                    let span = (self.data.end_ms - self.data.start_ms) as usize;
                    let at_ms = self.data.start_ms + self.random.below(span) as i64 / 500 * 500;
                    format!("{}", at_ms as f64 / 1000.0)
                }
            };
            shift += &format!(" @ {at}");
        }
        if self.random.percent(12) {
            shift +=
                self.random.pick(&[" offset 30s", " offset 1m", " offset 7m", " offset -1m", " offset 1ms"]);
        }
        shift
    }

    fn selector(&mut self) -> Vector {
        let smoothed = if self.random.percent(6) { " smoothed" } else { "" };
        Vector { text: format!("{}{smoothed}{}", self.matchers(), self.shift()), names: Names::Kept }
    }

    fn range(&mut self, depth: usize) -> Vector {
        if depth == 0 || self.random.percent(75) {
            let ranges = ["1s", "15s", "30s", "1m", "90s", "2m", "5m", "5m", "10m", "17m", "1h", "37500ms"];
            let computed = ["1m * 3", "step() + 30s", "max_of(step(), 2m)", "range() / 3 + 1", "-1m + 90"];
            let from = if self.random.percent(5) { &computed[..] } else { &ranges };
            let range = self.random.pick(from);
            return Vector {
                text: format!("{}[{range}]{}", self.matchers(), self.shift()),
                names: Names::Kept,
            };
        }
        let Vector { text, names } = self.vector(depth - 1);
        let window = self.random.pick(&["5m:1m", "5m:30s", "2m:7s", "10m:", "3m:15s", "20s:1m", "15m:5m"]);
        Vector { text: format!("({text})[{window}]{}", self.shift()), names }
    }

    fn vector(&mut self, depth: usize) -> Vector {
        if depth == 0 {
            return self.selector();
        }
        match self.random.below(100) {
            0..8 => self.selector(),
            8..33 => self.rollup(depth),
            33..55 => self.aggregate(depth),
            55..70 => self.vectors(depth),
            70..78 => self.with_scalar(depth),
            78..84 => self.set(depth),
            84..90 => {
                let function = self.random.pick(&MATH);
                dropped(format!("{function}({})", self.vector(depth - 1).text))
            }
            _ => self.other(depth),
        }
    }

    fn rollup(&mut self, depth: usize) -> Vector {
        if self.random.percent(12) {
            return self.extended();
        }
        let functions =
            if self.data.native && self.random.percent(50) { &NATIVE_ROLLUPS[..] } else { &ROLLUPS };
        let function = self.random.pick(functions);
        let Vector { text: range, names } = self.range(depth);
        let factor = |random: &mut Random| random.pick(&["0.1", "0.5", "0.9", "0.25"]);
        let args = match function {
            "quantile_over_time" => format!("{}, {range}", self.quantile(depth)),
            "predict_linear" if self.random.percent(80) => {
                format!("{range}, {}", self.random.pick(&["0", "60", "-30", "600"]))
            }
            "predict_linear" => format!("{range}, {}", self.scalar(depth.saturating_sub(1))),
            "ema_over_time" if self.random.percent(25) => {
                format!("{range}, {}", self.scalar(depth.saturating_sub(1)))
            }
            "ema_over_time" => format!("{range}, {}", factor(self.random)),
            "double_exponential_smoothing" if self.random.percent(10) => {
                format!("{range}, {}, {}", self.random.pick(&["0", "NaN", "1", "0.5"]), factor(self.random))
            }
            "double_exponential_smoothing" => {
                format!("{range}, {}, {}", factor(self.random), factor(self.random))
            }
            _ => range,
        };
        let keeps = matches!(function, "last_over_time" | "first_over_time");
        let names = if keeps { names } else { Names::Dropped };
        Vector { text: format!("{function}({args})"), names }
    }

    /// A function of an anchored or smoothed window.
    fn extended(&mut self) -> Vector {
        let (edges, functions) = self.random.pick(&[
            ("anchored", &["rate", "increase", "delta", "changes", "resets"][..]),
            ("smoothed", &["rate", "increase", "delta"]),
        ]);
        let function = self.random.pick(functions);
        let range = self.random.pick(&["1s", "30s", "1m", "90s", "5m", "10m", "37500ms"]);
        dropped(format!("{function}({}[{range}] {edges}{})", self.matchers(), self.shift()))
    }

    /// A function of native histograms.
    fn of_histograms(&mut self, depth: usize) -> Vector {
        let input = if self.random.percent(70) && depth > 1 {
            self.vector(depth - 1)
        } else {
            let function = self.random.pick(&NATIVE_ROLLUPS);
            let range = self.range(0).text;
            dropped(format!("{function}({range})"))
        };
        let functions =
            ["count", "sum", "avg", "stddev", "stdvar", "quantile", "quantile", "fraction", "fraction"];
        let function = self.random.pick(&functions);
        let params = match function {
            "quantile" => format!("{}, ", self.quantile(depth)),
            "fraction" => {
                let bounds =
                    ["-Inf", "-3", "-0.5", "0", "0.02", "0.5", "1", "3", "5", "7.5", "100", "Inf", "NaN"];
                format!("{}, {}, ", self.random.pick(&bounds), self.random.pick(&bounds))
            }
            _ => String::new(),
        };
        dropped(format!("histogram_{function}({params}{})", input.text))
    }

    fn info(&mut self) -> Vector {
        let (input, names) = if self.random.percent(60) {
            (self.matchers(), Names::Kept)
        } else {
            (format!("rate({}[5m])", self.matchers()), Names::Dropped)
        };
        let selectors = [
            "",
            r#", {version=~".+"}"#,
            r#", {version=~".*"}"#,
            r#", {version="1"}"#,
            r#", {build="2"}"#,
            r#", {__name__="build_info"}"#,
            r#", {__name__=~".+_info"}"#,
            r#", {__name__=~"build_info|target_info", build!="1"}"#,
            r#", {__name__!="target_info"}"#,
            r#", {job="x"}"#,
            r#", {none=~".+"}"#,
        ];
        Vector { text: format!("info({input}{})", self.random.pick(&selectors)), names }
    }

    fn labels(&mut self) -> String {
        let mut labels: Vec<&str> = Vec::new();
        for label in LABELS {
            if self.random.percent(40) {
                labels.push(label);
            }
        }
        labels.join(", ")
    }

    fn aggregate(&mut self, depth: usize) -> Vector {
        // Simple input where names decide groups: what becomes of them is then the same for all.
        let by_name = self.random.percent(8);
        let input = if by_name { self.rollup(0) } else { self.vector(depth - 1) };
        let grouping = match self.random.below(10) {
            _ if by_name => " by (__name__)".to_owned(),
            0..3 => String::new(),
            3..7 => format!(" by ({})", self.labels()),
            _ => format!(" without ({})", self.labels()),
        };
        let names = if by_name { input.names } else { Names::None };
        let inner = input.text;
        match self.random.below(16) {
            0 | 1 => {
                let op = self.random.pick(&["topk", "bottomk"]);
                Vector { text: format!("{op}{grouping}({}, {inner})", self.count(depth)), names: input.names }
            }
            2 => {
                let text = format!("count{grouping}(limitk{grouping}({}, {inner}))", self.count(depth));
                Vector { text, names }
            }
            3 => {
                let quantile = self.quantile(depth);
                Vector { text: format!("quantile{grouping}({quantile}, {inner})"), names }
            }
            4 if !by_name => {
                let label = self.random.pick(&["v", "job", "instance"]);
                Vector { text: format!("count_values{grouping}(\"{label}\", {inner})"), names }
            }
            _ => {
                let ops = ["sum", "sum", "avg", "avg", "count", "min", "max", "group", "stddev", "stdvar"];
                Vector { text: format!("{}{grouping}({inner})", self.random.pick(&ops)), names }
            }
        }
    }

    fn fill(&mut self) -> &'static str {
        let fills = [
            "",
            "",
            "",
            "",
            "",
            " fill(0)",
            " fill_left(2)",
            " fill_right(-1)",
            " fill_left(1) fill_right(3)",
        ];
        self.random.pick(&fills)
    }

    /// An operator between two vectors; mostly such that each sample has one partner.
    fn vectors(&mut self, depth: usize) -> Vector {
        let comparison = self.random.percent(35);
        let op = if comparison { self.random.pick(&COMPARISONS) } else { self.random.pick(&ARITHMETIC) };
        let bool = if comparison && self.random.percent(40) { " bool" } else { "" };
        let fill = self.fill();
        let (lhs, rhs) = (self.vector(depth - 1), self.vector(depth - 1));
        let (l, r) = (lhs.text, rhs.text);
        let mut names = if !comparison {
            Names::None
        } else if bool.is_empty() {
            lhs.names
        } else {
            Names::Dropped
        };
        let text = match self.random.below(10) {
            0..3 => {
                format!("max without (zone) ({l}) {op}{bool} ignoring (zone){fill} max without (zone) ({r})")
            }
            3 | 4 => format!("sum by (job) ({l}) {op}{bool} on (job){fill} sum by (job) ({r})"),
            5 | 6 => format!("({l}) {op}{bool} on (job) group_left (){fill} sum by (job) ({r})"),
            7 => {
                names = if !comparison {
                    Names::None
                } else if bool.is_empty() {
                    rhs.names
                } else {
                    Names::Dropped
                };
                let include = self.random.pick(&["()", "(instance)", "(zone)"]);
                format!("max by (job, zone) ({l}) {op}{bool} on (job) group_right{include}{fill} ({r})")
            }
            _ => {
                let which = self.random.pick(&["on", "ignoring"]);
                format!("({l}) {op}{bool} {which} ({}){fill} ({r})", self.labels())
            }
        };
        Vector { text: format!("({text})"), names }
    }

    fn with_scalar(&mut self, depth: usize) -> Vector {
        let comparison = self.random.percent(50);
        let op = if comparison { self.random.pick(&COMPARISONS) } else { self.random.pick(&ARITHMETIC) };
        let bool = if comparison && self.random.percent(40) { " bool" } else { "" };
        let vector = self.vector(depth - 1);
        let scalar = self.scalar(depth - 1);
        let names = if comparison && bool.is_empty() { vector.names } else { Names::Dropped };
        let vector = vector.text;
        let (l, r) = if self.random.percent(30) { (scalar, vector) } else { (vector, scalar) };
        Vector { text: format!("(({l}) {op}{bool} ({r}))"), names }
    }

    fn set(&mut self, depth: usize) -> Vector {
        let op = self.random.pick(&["and", "or", "or", "unless"]);
        let (mut lhs, mut rhs) = (self.vector(depth - 1), self.vector(depth - 1));
        if op == "or" && [lhs.names, rhs.names].contains(&Names::Dropped) {
            for side in [&mut lhs, &mut rhs].into_iter().filter(|side| side.names == Names::Kept) {
                *side = dropped(format!("-({})", side.text));
            }
        }
        let matching = match self.random.below(6) {
            0 | 1 => String::new(),
            2..5 => format!(" on ({})", self.labels()),
            _ => format!(" ignoring ({})", self.labels()),
        };
        let names = match (op, lhs.names) {
            ("or", Names::None) => rhs.names,
            (_, names) => names,
        };
        Vector { text: format!("(({}) {op}{matching} ({}))", lhs.text, rhs.text), names }
    }

    fn other(&mut self, depth: usize) -> Vector {
        let nameless = |text| Vector { text, names: Names::None };
        if self.data.native && self.random.percent(50) {
            return self.of_histograms(depth);
        }
        if self.data.info && self.random.percent(25) {
            return self.info();
        }
        match self.random.below(14) {
            0 => dropped(format!("-({})", self.vector(depth - 1).text)),
            1 => nameless(format!("absent({})", self.vector(depth - 1).text)),
            2 => nameless(format!("absent_over_time({})", self.range(depth).text)),
            3 => nameless(format!("vector({})", self.scalar(depth - 1))),
            4 => dropped(format!("timestamp({})", self.vector(depth - 1).text)),
            5 => {
                let function = self.random.pick(&DATES);
                let arg = if self.random.percent(30) {
                    String::new()
                } else {
                    format!("timestamp({})", self.vector(depth - 1).text)
                };
                dropped(format!("{function}({arg})"))
            }
            6 | 7 => {
                let Vector { text, names } = self.vector(depth - 1);
                let rest = self.random.pick(&[
                    r#""zone", "$1", "job", "(.*)""#,
                    r#""instance", "v$1", "instance", "([01])""#,
                    r#""job", "", "instance", "1""#,
                    r#""copy", "${1}_$2", "__name__", "(.)(.*)""#,
                    r#""job", "same", "job", ".*""#,
                ]);
                Vector { text: format!("label_replace({text}, {rest})"), names }
            }
            8 => {
                let Vector { text, names } = self.vector(depth - 1);
                Vector {
                    text: format!("label_join({text}, \"joined\", \"-\", \"job\", \"instance\")"),
                    names,
                }
            }
            9 => {
                let (min, max) = (self.scalar(depth - 1), self.scalar(depth - 1));
                dropped(format!("clamp({}, {min}, {max})", self.vector(depth - 1).text))
            }
            10 => {
                let function = self.random.pick(&["clamp_min", "clamp_max"]);
                let bound = self.scalar(depth - 1);
                dropped(format!("{function}({}, {bound})", self.vector(depth - 1).text))
            }
            11 => {
                let nearest = self.random.pick(&["0.5", "5", "0.1", "10"]);
                dropped(format!("round({}, {nearest})", self.vector(depth - 1).text))
            }
            _ => self.aggregate(depth),
        }
    }
}

fn dropped(text: String) -> Vector {
    Vector { text, names: Names::Dropped }
}
