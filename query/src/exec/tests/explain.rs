//! Explanations: what the plan is said to do, what the indexes are asked, and what an evaluation is said to have taken.

use super::*;
use crate::explain::{Explanation, Node, PushDown, Reads};

fn explain_with(text: &str, analyze: bool) -> Explanation {
    let (db, _directory) = database();
    let query = range(text, 60_000, 15_000);
    executor(Limits::default(), 2).explain(&db.snapshot(), &query, &Cancel::new(), analyze).unwrap()
}

fn outline(node: &Node) -> String {
    let push_downs: String = node.push_downs.iter().map(|p| format!("[{}]", p.as_str())).collect();
    let inputs: Vec<String> = node.inputs.iter().map(outline).collect();
    let head = format!("{} {}{push_downs}", node.kind, node.operation);
    if inputs.is_empty() { head } else { format!("{head}({})", inputs.join(", ")) }
}

#[test]
fn a_plan_says_what_is_fused_folded_and_evaluated_once() {
    for (text, expected) in [
        ("1 + 2", "constant 3[constant_folded]"),
        ("c_total", "select "),
        (
            "sum by (dc) (rate(c_total[1m])) / 2",
            "map /(aggregate sum by (dc)[without_rows][needed_labels](rollup rate[fused]), constant 2[constant_folded])",
        ),
        ("topk(2, abs(c_total))", "aggregate topk(map abs(select [fused]), constant 2[constant_folded])"),
        (
            "c_total - on (dc) group_left c_total @ 5",
            "binary - on (dc) group_left ()(select , invariant [evaluated_once](select ))",
        ),
        ("max_over_time(c_total[1m:30s])", "rollup max_over_time(subquery (select ))"),
        (
            "sum(rate(c_total[1m])) / count(rate(c_total[1m]))",
            "binary /(aggregate sum[without_rows][needed_labels](shared #1[shared](rollup rate)), \
             aggregate count[without_rows][needed_labels](shared #1[shared](rollup rate)))",
        ),
        ("histogram_count(c_total)", "map histogram_count(select [fused][without_buckets])"),
        (
            "absent(c_total) or vector(time())",
            "set or(absent [without_rows](select [fused]), vector (time ))",
        ),
    ] {
        assert_eq!(outline(&explain_with(text, false).root), expected, "{text}");
    }
}

#[test]
fn selectors_have_estimates_and_times() {
    let explanation = explain_with("rate(c_total{dc=\"1\", i=~\"1.*\"}[1m] offset 5s)", false);
    assert!(explanation.analysis.is_none());
    let selection = explanation.root.selection.unwrap();
    assert_eq!((selection.series_estimated, selection.series_estimated_max), (3, 3));
    let matchers: Vec<(&str, u64)> =
        selection.matchers.iter().map(|m| (m.matcher.as_str(), m.series_estimated)).collect();
    assert_eq!(matchers, [("dc=\"1\"", 25), ("i=~\"1.*\"", 11), ("__name__=\"c_total\"", 100)]);
    assert_eq!(selection.range_ns, (-65_000_000_000 + 1, 55_000_000_000));
    assert_eq!((selection.window_ms, selection.offset_ms, selection.at_ms), (60_000, 5000, None));
    let once = explain_with("sum(c_total @ 30)", false);
    assert_eq!(once.root.grid.map(|grid| grid.count), Some(1));
    assert_eq!(once.root.push_downs, [PushDown::EvaluatedOnce]);
}

#[test]
fn an_analysis_says_who_read_what() {
    let (db, _directory) = database();
    let text = "sum by (dc) (c_total) / on (dc) count by (dc) (rate(c_total{dc!=\"0\"}[1m]))";
    let query = range(text, 60_000, 15_000);
    let executor = executor(Limits::default(), 2);
    let snapshot = db.snapshot();
    let explanation = executor.explain(&snapshot, &query, &Cancel::new(), true).unwrap();
    let (all, some) = (&explanation.root.inputs[0], &explanation.root.inputs[1]);
    assert_eq!((all.measured.unwrap().rows, some.measured.unwrap().rows), (4, 3));
    assert_eq!(explanation.root.measured.unwrap().rows, 3);
    // Fused nodes are not measured by themselves; what they read is known.
    assert!(all.inputs[0].measured.is_none() && all.reads.is_none());
    let reads = |node: &Node| node.inputs[0].reads.map(|Reads { series, samples, .. }| (series, samples));
    assert_eq!(reads(all), Some((100, 500)));
    assert_eq!(reads(some), Some((75, 375)));
    assert!(all.inputs[0].reads.unwrap().encoded_bytes > 0);
    let analysis = explanation.analysis.as_ref().unwrap();
    let outcome = executor.execute(&snapshot, &query, &Cancel::new()).unwrap();
    assert_eq!((analysis.stats, &analysis.infos), (outcome.stats, &outcome.infos));
    let tree = explanation.to_string();
    for part in [
        "evaluated at 5 steps of 15s from 0 to 60\n",
        "\n  aggregate sum by (dc) [adds up cells as they come, keeps no rows of series] [reads the labels of its groups]  (",
        "\n    select [fused into the node above]\n        about 100 series, windows of 5m, from ",
        "\n        read 100 series, 500 samples, ",
        "\n175 series, 875 samples, at most ",
    ] {
        assert!(tree.contains(part), "no {part:?} in:\n{tree}");
    }
}

#[test]
fn samples_are_counted_at_each_step_as_prometheus_counts() {
    let (db, _directory) = database();
    let snapshot = db.snapshot();
    let executor = executor(Limits::default(), 2);
    for (text, expected) in [
        ("c_total{i=\"1\"}", [1, 1, 1, 1, 1]),
        ("sum_over_time(c_total{i=\"1\"}[30s])", [1, 2, 2, 2, 2]),
        ("sum(c_total{dc=\"1\"} @ 30)", [25, 25, 25, 25, 25]),
        ("max_over_time(c_total{i=\"1\"}[30s:5s])", [1, 4, 6, 6, 6]),
        ("c_total{i=\"1\"} + c_total{i=\"1\"}", [2, 2, 2, 2, 2]),
        ("vector(1)", [0, 0, 0, 0, 0]),
    ] {
        let mut query = range(text, 60_000, 15_000);
        let counted =
            |query: &Query| executor.execute(&snapshot, query, &Cancel::new()).unwrap().step_samples;
        assert_eq!(counted(&query), None);
        query.count_samples = true;
        assert_eq!(counted(&query).as_deref(), Some(&expected[..]), "{text}");
    }
    let text = "c_total{i=\"1\"}[30s]";
    let mut query = Query::instant(text, crate::parse(text).unwrap(), 60_000);
    query.count_samples = true;
    let outcome = executor.execute(&snapshot, &query, &Cancel::new()).unwrap();
    assert_eq!(outcome.step_samples, Some(vec![2]));
}

#[test]
fn memory_of_what_was_used_before_is_free_again() {
    let (db, _directory) = database();
    let snapshot = db.snapshot();
    let run = |text: &str| {
        let query = range(text, 1_500_000, 15_000);
        executor(Limits::default(), 1).execute(&snapshot, &query, &Cancel::new()).unwrap().stats
    };
    let (one, two) = (run("sort(c_total)"), run("sum(sort(c_total)) + sum(sort(c_total))"));
    assert_eq!(one.points_peak, 100 * 101);
    // Next to the second hundred rows there are the sum of the first and some accumulators.
    assert!(two.points_peak < one.points_peak + one.points_peak / 2, "{two:?}");
    assert!(one.memory_bytes_peak >= one.points_peak * 8, "{one:?}");
}

#[test]
fn windows_that_are_looked_at_anew_give_the_same_in_parts() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { wal_sync: WalSync::Off, background: false, ..Options::default() };
    let db = Db::open(directory.path(), options).unwrap();
    let mut appender = db.appender().unwrap();
    let labels = Labels::from_pairs([("__name__", "m")]).unwrap();
    // So many samples that a part of the steps is a few hundred.
    appender.series(&labels, (0..4_000_i64).map(|k| (k * 1_000_000_000, (k % 97) as f64))).unwrap();
    appender.commit().unwrap();
    let snapshot = db.snapshot();
    let executor = executor(Limits::default(), 1);
    for text in
        ["quantile_over_time(0.5, m[20s])", "stddev_over_time(m[20s])", "predict_linear(m[20s], time())"]
    {
        let query = range(text, 3_999_000, 500);
        let Value::Matrix(whole) = executor.execute(&snapshot, &query, &Cancel::new()).unwrap().value else {
            panic!("not a matrix")
        };
        for step in (0..whole[0].values.len()).step_by(61) {
            let instant = Query::instant(text, query.expr.clone(), whole[0].timestamps_ms[step]);
            let Value::Vector(one) = executor.execute(&snapshot, &instant, &Cancel::new()).unwrap().value
            else {
                panic!("not a vector")
            };
            assert_eq!(one[0].value.to_bits(), whole[0].values[step].to_bits(), "{text} at step {step}");
        }
    }
}
