//! The `.test` language: `load` and `eval` commands, as Prometheus's promqltest defines them.

use std::sync::Arc;

use timberline_engine::{Histogram, Labels, STALE_NAN};

use super::histogram::Notation;

/// What a script says, in order.
#[derive(Debug)]
pub(crate) enum Command {
    /// Forget all data.
    Clear,
    /// Add series.
    Load(Load),
    /// Evaluate a query and compare.
    Eval(Box<Eval>),
    /// A block that cannot be read, and why.
    Unreadable { line: usize, reason: String },
}

/// Series to add.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) step_ms: i64,
    /// Whether classic histograms are to be added as native ones too.
    pub(crate) with_native: bool,
    pub(crate) series: Vec<(Labels, Vec<Point>)>,
}

/// A point of a series notation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Point {
    Gap,
    Float(f64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
}

/// The times of an eval.
#[derive(Clone, Copy, Debug)]
pub(crate) enum At {
    Instant(i64),
    Range { start_ms: i64, end_ms: i64, step_ms: i64 },
}

/// How a text is expected.
#[derive(Clone, Debug)]
pub(crate) enum Text {
    Any,
    Exactly(String),
    Regex(String),
}

/// What is expected of one kind of annotation.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    pub(crate) texts: Vec<Text>,
    pub(crate) none: bool,
}

/// A query and what it should answer.
#[derive(Debug)]
pub(crate) struct Eval {
    pub(crate) line: usize,
    pub(crate) at: At,
    pub(crate) query: String,
    pub(crate) ordered: bool,
    pub(crate) fail: Option<Text>,
    pub(crate) warnings: Expected,
    pub(crate) infos: Expected,
    pub(crate) string: Option<String>,
    pub(crate) scalar: Option<f64>,
    /// The grid that an instant query of a range vector is expected on.
    pub(crate) range_vector: Option<At>,
    pub(crate) series: Vec<(Labels, Vec<Point>)>,
}

/// Reads a script.
pub(crate) fn parse(text: &str) -> Vec<Command> {
    let lines: Vec<&str> =
        text.lines().map(str::trim).map(|line| if line.starts_with('#') { "" } else { line }).collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let end = (at..lines.len()).find(|&i| lines[i].is_empty()).unwrap_or(lines.len());
        let word = lines[at].split_whitespace().next().unwrap_or_default();
        match word {
            "" => at += 1,
            "clear" => {
                commands.push(Command::Clear);
                at += 1;
            }
            _ => {
                let (command, used) = parse_block(word, &lines[at..end], at + 1);
                commands.push(command);
                at += used;
            }
        }
    }
    commands
}

fn parse_block(word: &str, lines: &[&str], line: usize) -> (Command, usize) {
    let parsed = if word.starts_with("load") {
        parse_load(lines).map(|load| (Command::Load(load), lines.len()))
    } else if word.starts_with("eval") {
        parse_eval(lines, line).map(|(eval, used)| (Command::Eval(Box::new(eval)), used))
    } else {
        Err(format!("unknown command {word:?}"))
    };
    parsed.unwrap_or_else(|reason| (Command::Unreadable { line, reason }, lines.len()))
}

fn parse_load(lines: &[&str]) -> Result<Load, String> {
    let (word, step) = lines[0].split_once(char::is_whitespace).ok_or("load needs an interval")?;
    let series = lines[1..].iter().map(|line| parse_series(line)).collect::<Result<_, _>>()?;
    Ok(Load { step_ms: duration(step)?, with_native: word == "load_with_nhcb", series })
}

/// `eval[_fail|_warn|_info|_ordered] instant at TIME QUERY` or `… range from TIME to TIME step TIME QUERY`.
fn parse_eval(lines: &[&str], line: usize) -> Result<(Eval, usize), String> {
    let mut rest = lines[0];
    let mut word = || -> Result<&str, String> {
        let (word, after) = rest.split_once(char::is_whitespace).ok_or("the eval is cut off")?;
        rest = after.trim_start();
        Ok(word)
    };
    let modifier = word()?.strip_prefix("eval").unwrap_or_default().to_owned();
    let at = match word()? {
        "instant" => {
            word()?;
            At::Instant(duration(word()?)?)
        }
        _ => {
            word()?;
            let start_ms = duration(word()?)?;
            word()?;
            let end_ms = duration(word()?)?;
            word()?;
            At::Range { start_ms, end_ms, step_ms: duration(word()?)? }
        }
    };
    let mut eval = Eval {
        line,
        at,
        query: rest.to_owned(),
        ordered: modifier == "_ordered",
        fail: (modifier == "_fail").then_some(Text::Any),
        warnings: Expected::default(),
        infos: Expected::default(),
        string: None,
        scalar: None,
        range_vector: None,
        series: Vec::new(),
    };
    match modifier.as_str() {
        "_warn" => eval.warnings.texts.push(Text::Any),
        "_info" => eval.infos.texts.push(Text::Any),
        _ => {}
    }
    for (i, line) in lines[1..].iter().enumerate() {
        if let Some(text) = line.strip_prefix("expected_fail_message") {
            eval.fail = Some(Text::Exactly(text.trim().to_owned()));
        } else if let Some(text) = line.strip_prefix("expected_fail_regexp") {
            eval.fail = Some(Text::Regex(text.trim().to_owned()));
        } else if let Some(rest) = line.strip_prefix("expect ") {
            parse_expect(rest, &mut eval)?;
        } else if let Ok(value) = number(line) {
            eval.scalar = Some(value);
            return Ok((eval, i + 2));
        } else {
            eval.series.push(parse_series(line)?);
        }
    }
    Ok((eval, lines.len()))
}

fn parse_expect(rest: &str, eval: &mut Eval) -> Result<(), String> {
    let (kind, detail) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let detail = detail.trim();
    let text = || {
        if let Some(text) = detail.strip_prefix("msg:") {
            Text::Exactly(text.trim().to_owned())
        } else if let Some(text) = detail.strip_prefix("regex:") {
            Text::Regex(text.trim().to_owned())
        } else {
            Text::Any
        }
    };
    match kind {
        "ordered" => eval.ordered = true,
        "fail" => eval.fail = Some(text()),
        "warn" => eval.warnings.texts.push(text()),
        "info" => eval.infos.texts.push(text()),
        "no_warn" => eval.warnings.none = true,
        "no_info" => eval.infos.none = true,
        "string" => eval.string = Some(quoted(detail)?.0),
        "range" => {
            let words: Vec<&str> = detail.split_whitespace().collect();
            let ["vector", "from", start, "to", end, "step", step] = words.as_slice() else {
                return Err(format!("bad expectation {rest:?}"));
            };
            let (start_ms, end_ms, step_ms) = (duration(start)?, duration(end)?, duration(step)?);
            eval.range_vector = Some(At::Range { start_ms, end_ms, step_ms });
            eval.at = At::Instant(end_ms);
        }
        _ => return Err(format!("bad expectation {rest:?}")),
    }
    Ok(())
}

fn duration(text: &str) -> Result<i64, String> {
    timberline_query::parse_duration(text.trim()).map_err(|error| format!("duration {text:?}: {error}"))
}

/// A number as the scripts write them.
pub(crate) fn number(text: &str) -> Result<f64, String> {
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'-') => (-1.0, &text[1..]),
        Some(b'+') => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    let digits = digits.trim_start().replace('_', "");
    let value = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => {
            u64::from_str_radix(hex, 16).map(|value| value as f64).map_err(|error| error.to_string())
        }
        None => digits.parse().map_err(|_| format!("{text:?} is not a number")),
    };
    value.map(|value| sign * value)
}

/// `name{label="value"} POINTS`.
fn parse_series(line: &str) -> Result<(Labels, Vec<Point>), String> {
    let (labels, rest) = parse_labels(line)?;
    Ok((labels, parse_points(rest)?))
}

fn parse_labels(line: &str) -> Result<(Labels, &str), String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let name_end = line.find(|c| !is_name(c)).unwrap_or(line.len());
    let mut pairs = Vec::new();
    if name_end > 0 {
        pairs.push(("__name__".to_owned(), line[..name_end].to_owned()));
    }
    let mut rest = line[name_end..].trim_start();
    if !rest.starts_with('{') || rest.starts_with("{{") {
        if name_end == 0 {
            return Err(format!("bad series {line:?}"));
        }
        return Ok((labels_of(&pairs)?, rest));
    }
    rest = rest[1..].trim_start();
    while !rest.starts_with('}') {
        let label = if rest.starts_with(['"', '\'', '`']) {
            let (label, after) = quoted(rest)?;
            rest = after.trim_start();
            label
        } else {
            let end =
                rest.find(|c| !is_name(c)).filter(|&end| end > 0).ok_or(format!("bad label in {line:?}"))?;
            let label = rest[..end].to_owned();
            rest = rest[end..].trim_start();
            label
        };
        if let Some(value) = rest.strip_prefix('=') {
            let (value, after) = quoted(value.trim_start())?;
            pairs.push((label, value));
            rest = after.trim_start();
        } else {
            pairs.push(("__name__".to_owned(), label));
        }
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
        if rest.is_empty() {
            return Err(format!("unterminated labels in {line:?}"));
        }
    }
    Ok((labels_of(&pairs)?, rest[1..].trim_start()))
}

fn labels_of(pairs: &[(String, String)]) -> Result<Labels, String> {
    Labels::from_pairs(pairs.iter().map(|(name, value)| (name, value))).map_err(|error| error.to_string())
}

/// The string that `text` starts with, and what follows it.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\'' | '`')).ok_or("expected a string")?;
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            _ if c == quote => return Ok((out, &text[at + 1..])),
            '\\' if quote != '`' => match chars.next() {
                Some((_, 'n')) => out.push('\n'),
                Some((_, 't')) => out.push('\t'),
                Some((_, c @ ('\\' | '"' | '\''))) => out.push(c),
                other => return Err(format!("unknown escape {other:?}")),
            },
            _ => out.push(c),
        }
    }
    Err("unterminated string".to_owned())
}

/// `1 2 _ stale 0+10x5 _x3 {{…}}x2`.
fn parse_points(mut rest: &str) -> Result<Vec<Point>, String> {
    let mut points = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(points);
        }
        let end = if rest.starts_with("{{") {
            // A histogram has spaces inside, and may be followed by a second one to add, and a number of times.
            let mut end = rest.find("}}").ok_or("unterminated histogram")? + 2;
            if rest[end..].starts_with("+{{") || rest[end..].starts_with("-{{") {
                end += rest[end..].find("}}").ok_or("unterminated histogram")? + 2;
            }
            end + rest[end..].find(char::is_whitespace).unwrap_or(rest.len() - end)
        } else {
            rest.find(char::is_whitespace).unwrap_or(rest.len())
        };
        expand(&rest[..end], &mut points)?;
        rest = &rest[end..];
    }
}

fn expand(item: &str, points: &mut Vec<Point>) -> Result<(), String> {
    // An `x` inside a histogram is no repetition.
    let (item, times) = match item.rsplit_once('x') {
        Some((item, times)) if !item.is_empty() && !times.contains('}') => {
            (item, Some(times.parse::<usize>().map_err(|_| format!("bad repetition in {item:?}"))?))
        }
        _ => (item, None),
    };
    if item == "_" {
        points.extend(std::iter::repeat_n(Point::Gap, times.unwrap_or(1)));
        return Ok(());
    }
    let count = times.map_or(1, |times| times + 1);
    if item.starts_with("{{") {
        let end = item.find("}}").map_or(item.len(), |at| at + 2);
        let step = match item[end..].chars().next() {
            Some(sign @ ('+' | '-')) => Some((sign == '+', Notation::parse(&item[end + 1..])?)),
            _ => None,
        };
        points.extend(Notation::parse(&item[..end])?.repeat(step.as_ref(), count - 1)?);
        return Ok(());
    }
    if item == "stale" {
        points.extend(std::iter::repeat_n(Point::Float(STALE_NAN), count));
        return Ok(());
    }
    // The sign that starts the increment: not the first character, nor after an exponent's `e`.
    let bytes = item.as_bytes();
    let increment = (1..bytes.len())
        .find(|&i| matches!(bytes[i], b'+' | b'-') && !matches!(bytes[i - 1], b'e' | b'E'))
        .filter(|_| times.is_some());
    let (mut value, step) = match increment {
        Some(at) => (number(&item[..at])?, number(&item[at..])?),
        None => (number(item)?, 0.0),
    };
    for _ in 0..count {
        points.push(Point::Float(value));
        if increment.is_some() {
            value += step;
        }
    }
    Ok(())
}
