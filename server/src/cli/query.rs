//! `timberline query`: a PromQL query, and its answer as a table.

use std::io::{self, Write};

use serde_json::Value;

use super::client::{Client, Refusal};
use super::table::{Align, Table, sparkline};
use super::time::time_ns;
use super::{Error, ServerUrl};
use crate::state::now_ns;

/// Most columns of a sparkline.
const SPARKLINE_WIDTH_MAX: usize = 40;
/// Points of a range whose step is not given.
const DEFAULT_POINTS: i64 = 60;

/// Ask a server a PromQL query.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The PromQL expression
    #[arg(value_name = "EXPR", allow_hyphen_values = true)]
    expression: String,
    #[command(flatten)]
    server: ServerUrl,
    /// Evaluate at this time: seconds since the epoch, RFC 3339, a date, or a duration before now such as 5m [default: now]
    #[arg(long, value_name = "TIME", conflicts_with_all = ["start", "end", "step"])]
    time: Option<String>,
    /// Evaluate over a range from this time on
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// Last time of the range [default: now]
    #[arg(long, value_name = "TIME", requires = "start")]
    end: Option<String>,
    /// Distance of the points of the range: a duration [default: a 60th of the range]
    #[arg(long, value_name = "DURATION", requires = "start")]
    step: Option<String>,
    /// Print the server's JSON as it is
    #[arg(long)]
    json: bool,
    /// Print how the query is going to be evaluated instead of its answer
    #[arg(long)]
    explain: bool,
    /// Evaluate the query and print how that went
    #[arg(long)]
    analyze: bool,
}

type Parameters = Vec<(&'static str, String)>;

pub(super) fn run(args: &Args) -> Result<(), Error> {
    let (path, parameters) = request(args, now_ns())?;
    let parameters: Vec<(&str, &str)> = parameters.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let answer = Client::new(&args.server.url).post_form(path, &parameters)?;
    let response = answer.map_err(|refusal| explain(&refusal, &args.expression))?;
    let mut out = io::stdout().lock();
    if args.json || args.explain || args.analyze {
        io::copy(&mut response.into_body().into_reader(), &mut out)?;
        if args.json {
            writeln!(out)?;
        }
        return Ok(());
    }
    let answer: Value = serde_json::from_reader(io::BufReader::new(response.into_body().into_reader()))
        .map_err(|error| Error::message(format!("the server's answer is not JSON: {error}")))?;
    for (kind, name) in [("warning", "warnings"), ("info", "infos")] {
        for text in answer[name].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let text = text.strip_prefix("PromQL ").unwrap_or(text);
            let text = text.strip_prefix(kind).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(text);
            super::say(format_args!("{kind}: {text}"));
        }
    }
    out.write_all(render(&answer["data"]).as_bytes())?;
    out.flush()?;
    Ok(())
}

/// The path and the parameters.
fn request(args: &Args, now_ns: i64) -> Result<(&'static str, Parameters), Error> {
    let (path, mut parameters) = evaluation(args, now_ns)?;
    if !args.explain && !args.analyze {
        return Ok((path, parameters));
    }
    if args.analyze {
        parameters.push(("analyze", "true".to_owned()));
    }
    if !args.json {
        parameters.push(("format", "text".to_owned()));
    }
    Ok(("/api/v1/explain", parameters))
}

fn evaluation(args: &Args, now_ns: i64) -> Result<(&'static str, Parameters), Error> {
    let mut parameters = vec![("query", args.expression.clone())];
    let Some(start) = &args.start else {
        if let Some(time) = &args.time {
            parameters.push(("time", seconds(milliseconds(time, now_ns)?)));
        }
        return Ok(("/api/v1/query", parameters));
    };
    let mut start = milliseconds(start, now_ns)?;
    let end = args.end.as_ref().map_or(Ok(now_ns.div_euclid(1_000_000)), |end| milliseconds(end, now_ns))?;
    let step = args.step.clone().unwrap_or_else(|| {
        let step = end.saturating_sub(start) / DEFAULT_POINTS;
        let step = (step.max(1) as u64).next_multiple_of(1000) as i64;
        // The newest samples are what people look for: the last point is at the end.
        start = start.max(end - end.saturating_sub(start) / step * step);
        seconds(step)
    });
    parameters.extend([("start", seconds(start)), ("end", seconds(end)), ("step", step)]);
    Ok(("/api/v1/query_range", parameters))
}

fn milliseconds(text: &str, now_ns: i64) -> Result<i64, Error> {
    Ok(time_ns(text, now_ns)?.div_euclid(1_000_000))
}

fn seconds(milliseconds: i64) -> String {
    (milliseconds as f64 / 1000.0).to_string()
}

/// The server's sentence; for a parse error, with the query and a caret under the place.
fn explain(refusal: &Refusal, expression: &str) -> Error {
    let Some((line, column)) = position(&refusal.message) else {
        return Error::message(refusal.message.clone());
    };
    let text = expression.lines().nth(line - 1).unwrap_or_default();
    let indent: String = text.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    Error::message(format!("{}\n  {text}\n  {indent}^", refusal.message))
}

/// Line and column of `invalid parameter "query": 1:5: parse error: …`.
fn position(message: &str) -> Option<(usize, usize)> {
    let (before, _) = message.split_once(": parse error")?;
    let mut parts = before.rsplit([':', ' ']);
    let column = parts.next()?.parse().ok().filter(|column| *column > 0)?;
    let line = parts.next()?.parse().ok().filter(|line| *line > 0)?;
    Some((line, column))
}

fn render(data: &Value) -> String {
    let result = &data["result"];
    match data["resultType"].as_str() {
        Some("scalar" | "string") => format!("{}\n", text(&result[1])),
        Some("vector" | "matrix") if result.as_array().is_some_and(Vec::is_empty) => "no series\n".to_owned(),
        Some("vector") => render_vector(result),
        Some("matrix") => render_matrix(result),
        _ => format!("{data}\n"),
    }
}

fn render_vector(result: &Value) -> String {
    let mut table = Table::new(&[("SERIES", Align::Left), ("VALUE", Align::Right)]);
    for series in result.as_array().into_iter().flatten() {
        let histogram = &series["histogram"][1];
        let value = if histogram.is_null() { text(&series["value"][1]) } else { describe(histogram) };
        table.row(vec![name(&series["metric"]), value]);
    }
    table.render()
}

fn render_matrix(result: &Value) -> String {
    let all: Vec<(String, Vec<(f64, f64)>)> = result
        .as_array()
        .into_iter()
        .flatten()
        .map(|series| (name(&series["metric"]), points(series)))
        .collect();
    let times = all.iter().flat_map(|(_, points)| points.iter().map(|(time, _)| *time));
    let (first, last) =
        times.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), time| (low.min(time), high.max(time)));
    let width = sparkline_width(&all, last - first);
    let mut table = Table::new(&[
        ("SERIES", Align::Left),
        ("POINTS", Align::Right),
        ("MIN", Align::Right),
        ("MAX", Align::Right),
        ("LAST", Align::Right),
        ("TREND", Align::Left),
    ]);
    for (name, points) in &all {
        let values = points.iter().map(|(_, value)| *value);
        let low = values.clone().fold(f64::NAN, f64::min);
        let high = values.fold(f64::NAN, f64::max);
        let newest = points.last().map_or(f64::NAN, |(_, value)| *value);
        table.row(vec![
            name.clone(),
            points.len().to_string(),
            number(low),
            number(high),
            number(newest),
            sparkline(points, first, last, width),
        ]);
    }
    table.render()
}

/// One column for each step, as far as they fit.
fn sparkline_width(all: &[(String, Vec<(f64, f64)>)], span: f64) -> usize {
    let distances = all.iter().flat_map(|(_, points)| points.windows(2).map(|pair| pair[1].0 - pair[0].0));
    let step = distances.fold(f64::INFINITY, f64::min);
    ((span / step).round() as usize + 1).min(SPARKLINE_WIDTH_MAX)
}

/// The points of a series by time; a histogram is shown by its count.
fn points(series: &Value) -> Vec<(f64, f64)> {
    let point = |pair: &Value| {
        let value = pair[1].as_str().or_else(|| pair[1]["count"].as_str())?;
        Some((pair[0].as_f64()?, value.parse().ok()?))
    };
    let lists = [&series["values"], &series["histograms"]].into_iter().filter_map(Value::as_array);
    let mut points: Vec<(f64, f64)> = lists.flatten().filter_map(point).collect();
    points.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    points
}

/// A native histogram on one line: `{count:3, sum:5, (1,2]:3}`.
fn describe(histogram: &Value) -> String {
    let mut line = format!("{{count:{}, sum:{}", text(&histogram["count"]), text(&histogram["sum"]));
    for bucket in histogram["buckets"].as_array().into_iter().flatten() {
        let (open, close) = match bucket[0].as_i64() {
            Some(0) => ('(', ']'),
            Some(1) => ('[', ')'),
            Some(3) => ('[', ']'),
            _ => ('(', ')'),
        };
        let [lower, upper, count] = [1, 2, 3].map(|part| text(&bucket[part]));
        line.push_str(&format!(", {open}{lower},{upper}{close}:{count}"));
    }
    line.push('}');
    line
}

/// A value as the server writes it.
fn number(value: f64) -> String {
    if value.is_infinite() {
        format!("{}Inf", if value > 0.0 { '+' } else { '-' })
    } else {
        value.to_string()
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A metric as PromQL writes it.
fn name(metric: &Value) -> String {
    let labels = metric.as_object().into_iter().flatten();
    let pairs = labels.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
    timberline_engine::Labels::from_pairs(pairs)
        .map_or_else(|_| metric.to_string(), |labels| labels.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use ureq::http::HeaderMap;

    use super::*;

    #[test]
    fn parse_errors_point_at_the_query() {
        let message = "invalid parameter \"query\": 2:5: parse error: unexpected \")\"".to_owned();
        let error =
            explain(&Refusal { status: 400, message, headers: HeaderMap::new() }, "sum(\nrate)x").to_string();
        assert!(error.ends_with("\n  rate)x\n      ^"), "{error}");
        assert_eq!(position("query timed out"), None);
    }

    #[test]
    fn vectors_and_matrices_are_tables() {
        let vector = json!({"resultType": "vector", "result": [
            {"metric": {"__name__": "up", "job": "a"}, "value": [1, "1"]},
            {"metric": {}, "value": [1, "12.5"]},
        ]});
        assert_eq!(render(&vector), "SERIES       VALUE\nup{job=\"a\"}      1\n{}            12.5\n");
        let matrix = json!({"resultType": "matrix", "result": [
            {"metric": {"__name__": "up"}, "values": [[0, "0"], [10, "1"]]},
        ]});
        let lines = render(&matrix);
        assert_eq!(
            [f64::INFINITY, f64::NEG_INFINITY, -0.5, f64::NAN].map(number),
            ["+Inf", "-Inf", "-0.5", "NaN"]
        );
        assert!(lines.lines().nth(1).is_some_and(|l| l.contains('▁') && l.ends_with('█')), "{lines}");
        let histogram =
            json!({"count": "3", "sum": "5", "buckets": [[3, "-1", "1", "2"], [0, "1", "2", "1"]]});
        let vector = json!({"resultType": "vector", "result": [{"metric": {}, "histogram": [1, histogram]}]});
        assert!(
            render(&vector).ends_with("{}      {count:3, sum:5, [-1,1]:2, (1,2]:1}\n"),
            "{}",
            render(&vector)
        );
        let mixed = json!({"values": [[0, "1"], [20, "2"]], "histograms": [[10, histogram]]});
        assert_eq!(points(&mixed), [(0.0, 1.0), (10.0, 3.0), (20.0, 2.0)]);
        assert_eq!(render(&json!({"resultType": "scalar", "result": [1, "2"]})), "2\n");
    }

    #[test]
    fn a_plan_is_asked_for_as_text_or_as_json() {
        #[derive(Debug, clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: Args,
        }
        for (flags, expected) in [
            (vec!["--explain"], vec!["format=text"]),
            (vec!["--analyze"], vec!["analyze=true", "format=text"]),
            (vec!["--explain", "--analyze", "--json"], vec!["analyze=true"]),
        ] {
            let line = <Line as clap::Parser>::try_parse_from([vec!["query", "up"], flags].concat()).unwrap();
            let (path, parameters) = request(&line.args, 0).unwrap();
            let texts = parameters.iter().map(|(name, value)| format!("{name}={value}"));
            let wanted: Vec<String> = texts.filter(|text| !text.starts_with("query=")).collect();
            assert_eq!(
                (path, wanted),
                ("/api/v1/explain", expected.into_iter().map(str::to_owned).collect())
            );
        }
    }

    #[test]
    fn a_range_without_a_step_ends_with_the_newest_point() {
        #[derive(Debug, clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: Args,
        }
        let now_ns = 1_700_000_000_123_000_000;
        for (start, expected) in [
            ("10m", ["1699999400.123", "1700000000.123", "10"]),
            ("30d", ["1697408000.123", "1700000000.123", "43200"]),
            ("1699999937.5", ["1699999938.123", "1700000000.123", "2"]),
            ("100ms", ["1700000000.123", "1700000000.123", "1"]),
        ] {
            let line = <Line as clap::Parser>::try_parse_from(["query", "-1", "--start", start]).unwrap();
            let (path, parameters) = request(&line.args, now_ns).unwrap();
            assert_eq!(path, "/api/v1/query_range");
            let values: Vec<&str> = parameters.iter().map(|(_, value)| value.as_str()).collect();
            assert_eq!(values, [&["-1"][..], &expected].concat(), "{start}");
        }
    }
}
