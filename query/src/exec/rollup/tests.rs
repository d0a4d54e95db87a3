//! Rollups over whole series: known values, and sliding against each window by itself.

use super::super::grid::{Grid, millis_to_nanos};
use super::super::row::{ABSENT, is_absent};
use super::*;
use crate::plan::Shift;

fn windows(start_s: i64, end_s: i64, step_s: i64, range_s: i64) -> Windows {
    let grid = Grid::new(start_s * 1000, end_s * 1000, step_s * 1000);
    Windows { grid, range_ms: range_s * 1000, shift: Shift { offset_ms: 0, at_ms: None } }
}

/// One value each `interval_s` seconds from 0.
fn samples(interval_s: i64, values: &[f64]) -> Samples {
    let timestamps = (0..values.len() as i64).map(|i| millis_to_nanos(i * interval_s * 1000)).collect();
    Samples::floats(timestamps, values.to_vec())
}

fn run(function: Rollup, windows: &Windows, samples: &Samples) -> Vec<f64> {
    let param = vec![0.5; windows.grid.steps];
    let mut cells = vec![ABSENT; windows.grid.steps];
    evaluate(function, windows, Some(&param), samples, &mut Buffers::default(), &mut cells);
    cells
}

/// A window at a time, without any state carried over.
fn run_each_step_alone(function: Rollup, windows: &Windows, samples: &Samples) -> Vec<f64> {
    let alone = |step| {
        let time_ms = windows.grid.time_ms(step);
        let one = Windows { grid: Grid::new(time_ms, time_ms, 0), ..*windows };
        run(function, &one, samples)[0]
    };
    (0..windows.grid.steps).map(alone).collect()
}

#[test]
fn rate_extrapolates_to_the_window_but_not_below_zero() {
    let counter = samples(240, &(0..=10).map(|i| 60.0 + 240.0 * f64::from(i)).collect::<Vec<_>>());
    assert!((run(Rollup::Rate, &windows(600, 600, 1, 1200), &counter)[0] - 0.55).abs() < 1e-12);
    assert!((run(Rollup::Rate, &windows(3000, 3000, 1, 1200), &counter)[0] - 0.6).abs() < 1e-12);
}

#[test]
fn rate_adds_what_was_counted_before_a_reset() {
    let values = [0.0, 27.0, 54.0, 81.0, 108.0, 0.0, 27.0, 54.0, 81.0, 108.0, 135.0];
    let rate = run(Rollup::Rate, &windows(3000, 3000, 1, 3000), &samples(300, &values));
    assert!((rate[0] - 0.08).abs() < 1e-12);
    assert_eq!(run(Rollup::Resets, &windows(3000, 3000, 1, 3001), &samples(300, &values)), [1.0]);
}

#[test]
fn a_huge_reset_leaves_later_windows_exact() {
    for huge in [1e300, f64::INFINITY] {
        let data = samples(10, &[huge, 1.0, 2.0, 1.0, 3.0, 5.0, 1.0, 0.5, 1.5]);
        let windows = windows(0, 80, 10, 31);
        let slid = run(Rollup::Increase, &windows, &data);
        assert_eq!(slid[4..], run_each_step_alone(Rollup::Increase, &windows, &data)[4..]);
    }
}

#[test]
fn a_single_sample_has_no_rate() {
    let one = samples(10, &[1.0]);
    for function in [Rollup::Rate, Rollup::Delta, Rollup::Irate, Rollup::Idelta, Rollup::Deriv] {
        assert!(is_absent(run(function, &windows(0, 0, 1, 10), &one)[0]), "{function:?}");
    }
}

#[test]
fn sliding_gives_what_each_window_gives_alone() {
    let mut state = 7_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let values: Vec<f64> = (0..400)
        .map(|_| match next() % 12 {
            0 => f64::NAN,
            1 => -1e100,
            2 => 1e100,
            _ => (next() % 1000) as f64 / 8.0,
        })
        .collect();
    let data = samples(10, &values);
    let functions = [
        Rollup::Avg,
        Rollup::Changes,
        Rollup::Count,
        Rollup::Delta,
        Rollup::Deriv,
        Rollup::Idelta,
        Rollup::Increase,
        Rollup::Irate,
        Rollup::Last,
        Rollup::Max,
        Rollup::Min,
        Rollup::PredictLinear,
        Rollup::Present,
        Rollup::Quantile,
        Rollup::Rate,
        Rollup::Resets,
        Rollup::Stddev,
        Rollup::Stdvar,
        Rollup::Sum,
    ];
    for (step, range) in [(7, 300), (15, 95), (60, 30), (600, 10), (10, 10)] {
        let windows = windows(-50, 4200, step, range);
        for function in functions {
            let (slid, alone) =
                (run(function, &windows, &data), run_each_step_alone(function, &windows, &data));
            for (i, (a, b)) in slid.iter().zip(&alone).enumerate() {
                let close = (a.is_nan() && b.is_nan() && is_absent(*a) == is_absent(*b))
                    || a == b
                    || (a - b).abs() <= 1e-9 * b.abs();
                assert!(close, "{function:?} step {step} range {range} cell {i}: {a} is not {b}");
            }
        }
    }
}

#[test]
fn means_survive_sums_that_overflow() {
    let huge = 9.988_465_674_311_58e307;
    let at_once = windows(55, 55, 1, 60);
    assert_eq!(run(Rollup::Avg, &at_once, &samples(10, &[huge, huge])), [huge]);
    assert_eq!(run(Rollup::Sum, &at_once, &samples(10, &[huge, huge])), [f64::INFINITY]);
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    assert_eq!(run(Rollup::Avg, &at_once, &samples(10, &[inf, 0.0, inf])), [inf]);
    assert!(run(Rollup::Avg, &at_once, &samples(10, &[inf, inf, inf, -inf]))[0].is_nan());
    assert!(run(Rollup::Avg, &at_once, &samples(10, &[1.0, nan]))[0].is_nan());
    let merged = {
        let mut left: Mean = [huge, huge].into_iter().collect();
        left.merge([huge, huge].into_iter().collect());
        left.value()
    };
    assert!((merged / huge - 1.0).abs() < 1e-12);
}

#[test]
fn variance_of_equal_values_is_exactly_zero() {
    let equal = samples(10, &[1.599_050_563_727_786_8; 3]);
    assert_eq!(run(Rollup::Stdvar, &windows(55, 55, 1, 60), &equal), [0.0]);
}

#[test]
fn quantiles_interpolate_and_put_nan_first() {
    assert!((quantile_of(0.8, &mut [0.0, 4.0, 1.0]) - 2.8).abs() < 1e-12);
    assert!((quantile_of(0.8, &mut [1.0, f64::NAN, 0.0]) - 0.6).abs() < 1e-12);
    assert!(quantile_of(0.2, &mut [1.0, f64::NAN, 0.0]).is_nan());
    assert_eq!(quantile_of(-1.0, &mut [1.0]), f64::NEG_INFINITY);
    assert_eq!(quantile_of(2.0, &mut [1.0]), f64::INFINITY);
    assert!(quantile_of(0.5, &mut []).is_nan());
}

#[test]
fn parts_of_the_steps_give_what_the_whole_gives() {
    // 5,000 samples with a gap of an hour, 2,000 steps with windows of 100 samples.
    let mut samples = samples(15, &(0..5000).map(|i| f64::from(i % 97)).collect::<Vec<_>>());
    samples.timestamps[2500..].iter_mut().for_each(|time| *time += millis_to_nanos(3_600_000));
    let whole = windows(-1000, 79_000, 40, 1500);
    let in_parts = |function, windows: &Windows, samples: &Samples| {
        let param = vec![0.5; windows.grid.steps];
        let mut cells = vec![ABSENT; windows.grid.steps];
        let work = Work { function, windows, param: Some(&param), samples };
        evaluate_in_parts(&Cancel::new(), &work, &mut Buffers::default(), &mut cells).unwrap();
        cells
    };
    assert_eq!(parts(&whole, &samples).len(), 2);
    let at = Windows { shift: Shift { offset_ms: 0, at_ms: Some(40_000_000) }, ..whole };
    for windows in [whole, at] {
        for function in [Rollup::Quantile, Rollup::Stddev, Rollup::TimeOfMax, Rollup::PredictLinear] {
            let (got, expected) = (in_parts(function, &windows, &samples), run(function, &windows, &samples));
            assert!(got.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()), "{function:?}");
        }
    }
    // What is not a number needs no parts, but sums that overflow do.
    samples.values[7] = f64::NAN;
    assert!(!leaves_doubles(Rollup::Avg, &samples.values));
    samples.values[1000..1010].fill(f64::MAX);
    samples.values[4000] = f64::INFINITY;
    assert!(leaves_doubles(Rollup::Avg, &samples.values));
    for function in [Rollup::Avg, Rollup::Rate] {
        let (got, expected) = (in_parts(function, &whole, &samples), run(function, &whole, &samples));
        let is_near = |a: f64, b: f64| a.to_bits() == b.to_bits() || (a - b).abs() <= 1e-12 * b.abs();
        assert!(got.iter().zip(&expected).all(|(&a, &b)| is_near(a, b)), "{function:?}");
    }
}
