//! Functions of one number.

use crate::exec::row::{ABSENT, is_present};
use crate::plan::Math;

fn function(math: Math) -> fn(f64) -> f64 {
    match math {
        Math::Abs => f64::abs,
        Math::Acos => f64::acos,
        Math::Acosh => f64::acosh,
        Math::Asin => f64::asin,
        Math::Asinh => f64::asinh,
        Math::Atan => f64::atan,
        Math::Atanh => f64::atanh,
        Math::Ceil => f64::ceil,
        Math::Cos => f64::cos,
        Math::Cosh => f64::cosh,
        Math::Deg => f64::to_degrees,
        Math::Exp => f64::exp,
        Math::Floor => f64::floor,
        Math::Ln => f64::ln,
        Math::Log10 => f64::log10,
        Math::Log2 => f64::log2,
        Math::Rad => f64::to_radians,
        // Unlike `signum`, zero and NaN stay what they are.
        Math::Sgn => |value| {
            if value < 0.0 {
                -1.0
            } else if value > 0.0 {
                1.0
            } else {
                value
            }
        },
        Math::Sin => f64::sin,
        Math::Sinh => f64::sinh,
        Math::Sqrt => f64::sqrt,
        Math::Tan => f64::tan,
        Math::Tanh => f64::tanh,
    }
}

pub(in crate::exec) fn apply_math(math: Math, cells: &mut [f64]) {
    let function = function(math);
    cells.iter_mut().filter(|cell| is_present(**cell)).for_each(|cell| *cell = function(*cell));
}

/// The smaller number, as Go's `math.Min`: NaN when one is, but for -Inf, which is smaller than anything; -0 is smaller than 0.
pub(in crate::exec) fn min(a: f64, b: f64) -> f64 {
    if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY {
        f64::NEG_INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a < b || (a == b && a.is_sign_negative()) {
        a
    } else {
        b
    }
}

/// The larger number; NaN when one is, but for +Inf, which is larger than anything.
pub(in crate::exec) fn max(a: f64, b: f64) -> f64 {
    -min(-a, -b)
}

fn zip_present(cells: &mut [f64], column: &[f64], f: impl Fn(f64, f64) -> f64) {
    for (cell, &parameter) in cells.iter_mut().zip(column) {
        if is_present(*cell) {
            *cell = f(*cell, parameter);
        }
    }
}

pub(in crate::exec) fn clamp(cells: &mut [f64], lower: &[f64], upper: &[f64]) {
    for (cell, (&lower, &upper)) in cells.iter_mut().zip(lower.iter().zip(upper)) {
        if is_present(*cell) {
            *cell = if upper < lower { ABSENT } else { max(lower, min(upper, *cell)) };
        }
    }
}

pub(in crate::exec) fn clamp_min(cells: &mut [f64], lower: &[f64]) {
    zip_present(cells, lower, max);
}

pub(in crate::exec) fn clamp_max(cells: &mut [f64], upper: &[f64]) {
    zip_present(cells, upper, min);
}

/// To the nearest multiple of `to_nearest`, halves up.
pub(in crate::exec) fn round(cells: &mut [f64], to_nearest: &[f64]) {
    zip_present(cells, to_nearest, |value, to_nearest| {
        let inverse = 1.0 / to_nearest;
        (value * inverse + 0.5).floor() / inverse
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clamping_passes_nan_on_and_drops_empty_intervals() {
        let mut cells = [-50.0, 100.0, ABSENT];
        clamp(&mut cells, &[-25.0; 3], &[75.0; 3]);
        assert_eq!(cells[..2], [-25.0, 75.0]);
        let mut cells = [1.0];
        clamp(&mut cells, &[0.0], &[f64::NAN]);
        assert!(cells[0].is_nan() && is_present(cells[0]));
        let mut cells = [1.0];
        clamp(&mut cells, &[5.0], &[-5.0]);
        assert!(!is_present(cells[0]));
    }

    #[test]
    fn zeros_have_an_order_and_keep_their_sign() {
        for (a, b) in [(0.0, -0.0), (-0.0, 0.0)] {
            assert!(min(a, b).is_sign_negative() && max(a, b).is_sign_positive(), "{a} {b}");
        }
        let mut cells = [-0.0, 0.0];
        clamp_min(&mut cells, &[-1.0; 2]);
        assert_eq!(cells.map(f64::to_bits), [-0.0_f64, 0.0].map(f64::to_bits));
        clamp(&mut cells, &[-0.0; 2], &[0.0; 2]);
        assert_eq!(cells.map(f64::to_bits), [-0.0_f64, 0.0].map(f64::to_bits));
        clamp_min(&mut cells, &[0.0; 2]);
        assert_eq!(cells.map(f64::to_bits), [0.0_f64; 2].map(f64::to_bits));
    }

    #[test]
    fn rounding_breaks_ties_upwards() {
        let mut cells = [0.5, -0.5, 2.4, 7.0];
        round(&mut cells, &[1.0, 1.0, 1.0, 5.0]);
        assert_eq!(cells, [1.0, 0.0, 2.0, 5.0]);
    }

    #[test]
    fn the_sign_of_zero_and_nan_is_themselves() {
        let mut cells = [-2.0, 0.0, 3.0, f64::NAN];
        apply_math(Math::Sgn, &mut cells);
        assert_eq!(cells[..3], [-1.0, 0.0, 1.0]);
        assert!(cells[3].is_nan());
    }
}
