//! Which series meet, and what the errors say when too many do.

use super::*;
use crate::ast::{FillValues, Span};
use crate::deep::Deep;
use crate::plan::{BinaryPlan, VectorPlan};

fn row(pairs: &[(&str, &str)], values: &[f64]) -> Row {
    let labels = Labels::from_pairs(pairs.iter().copied()).unwrap();
    Row { labels, drop_name: false, values: values.to_vec() }
}

fn operation<'a>(plan: &'a BinaryPlan, many: &'a [Row], one: &'a [Row]) -> Operation<'a> {
    Operation { native: None, plan, operator: operator(plan.op), many, one }
}

fn plan(op: BinaryOp, matching: VectorMatching) -> BinaryPlan {
    let side = || {
        let shift = crate::plan::Shift { offset_ms: 0, at_ms: None };
        Deep::new(VectorPlan::Select { matchers: Vec::new(), shift, without_buckets: false })
    };
    BinaryPlan { op, return_bool: false, span: Span::default(), matching, lhs: side(), rhs: side() }
}

fn on(labels: &[&str], cardinality: Cardinality, include: &[&str]) -> VectorMatching {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    VectorMatching {
        cardinality,
        on: true,
        labels: owned(labels),
        include: owned(include),
        fill: FillValues::default(),
    }
}

/// All groups' results, or the first error.
fn run(operation: &Operation<'_>) -> Result<Vec<Row>> {
    let (mut rows, cancel) = (Vec::new(), Cancel::new());
    for group in match_groups(&cancel, &operation.plan.matching, operation.many, operation.one)? {
        operation.check_one_side(&group)?;
        rows.extend(operation.pairs(&group, &cancel)?.into_iter().map(|pair| pair.row));
    }
    Ok(rows)
}

#[test]
fn one_to_one_on_keeps_the_match_labels() {
    let lhs = [row(&[("__name__", "a"), ("job", "x"), ("i", "0")], &[6.0, ABSENT])];
    let rhs = [row(&[("__name__", "b"), ("job", "x")], &[2.0, 2.0])];
    let plan = plan(BinaryOp::Div, on(&["job"], Cardinality::OneToOne, &[]));
    let rows = run(&operation(&plan, &lhs, &rhs)).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].labels.to_string(), r#"{job="x"}"#);
    assert_eq!(rows[0].values[0], 3.0);
    assert!(!is_present(rows[0].values[1]));
}

#[test]
fn group_left_copies_labels_from_the_one_side() {
    let many = [row(&[("job", "x"), ("i", "0")], &[1.0]), row(&[("job", "x"), ("i", "1")], &[2.0])];
    let one = [row(&[("job", "x"), ("node", "n")], &[10.0])];
    let plan = plan(BinaryOp::Mul, on(&["job"], Cardinality::ManyToOne, &["node"]));
    let rows = run(&operation(&plan, &many, &one)).unwrap();
    let shown: Vec<_> = rows.iter().map(|row| format!("{} {}", row.labels, row.values[0])).collect();
    assert_eq!(shown, [r#"{i="0", job="x", node="n"} 10"#, r#"{i="1", job="x", node="n"} 20"#]);
}

#[test]
fn series_of_one_group_may_take_turns_but_not_meet() {
    let many = [row(&[("job", "x")], &[1.0, 1.0])];
    let turns =
        [row(&[("job", "x"), ("i", "0")], &[1.0, ABSENT]), row(&[("job", "x"), ("i", "1")], &[ABSENT, 2.0])];
    let plan = plan(BinaryOp::Add, on(&["job"], Cardinality::OneToOne, &[]));
    let rows = run(&operation(&plan, &many, &turns)).unwrap();
    assert_eq!(rows.len(), 2);
    let meet =
        [row(&[("job", "x"), ("i", "1")], &[1.0, 1.0]), row(&[("job", "x"), ("i", "0")], &[ABSENT, 2.0])];
    assert_eq!(
        run(&operation(&plan, &many, &meet)).unwrap_err().to_string(),
        "found duplicate series for the match group {job=\"x\"} on the right hand-side of the operation: \
         [{i=\"0\", job=\"x\"}, {i=\"1\", job=\"x\"}];many-to-many matching not allowed: matching labels must be unique on one side"
    );
    assert_eq!(
        run(&operation(&plan, &meet, &many)).unwrap_err().to_string(),
        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
    );
}
