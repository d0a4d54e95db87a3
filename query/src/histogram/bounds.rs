//! Where buckets begin and end.

use timberline_engine::histogram::CUSTOM_BUCKETS_SCHEMA;

/// The upper bound of bucket `index`; for exponential buckets of the positive side.
pub(super) fn upper_bound(index: i32, schema: i32, custom_values: &[f64]) -> f64 {
    if schema == CUSTOM_BUCKETS_SCHEMA {
        let bound = usize::try_from(index).map(|at| custom_values.get(at).copied().unwrap_or(f64::INFINITY));
        return bound.unwrap_or(f64::NEG_INFINITY);
    }
    exponential_bound(index, schema)
}

/// `2^(index × 2^-schema)`. The bucket that holds the largest number ends there and not at infinity.
pub(super) fn exponential_bound(index: i32, schema: i32) -> f64 {
    const LARGEST_EXPONENT: i64 = 1024;
    let index = i64::from(index);
    if schema < 0 {
        let exponent = index << schema.unsigned_abs().min(31);
        return if exponent == LARGEST_EXPONENT { f64::MAX } else { scale(1.0, exponent) };
    }
    let parts = 1_i64 << schema.min(30);
    let (whole, part) = (index.div_euclid(parts), index.rem_euclid(parts));
    if part == 0 && whole == LARGEST_EXPONENT {
        return f64::MAX;
    }
    scale((part as f64 / parts as f64).exp2(), whole)
}

/// `value × 2^exponent`, in steps that neither overflow nor underflow on the way.
fn scale(mut value: f64, exponent: i64) -> f64 {
    const STEP: i64 = 1000;
    // Far more than what makes any number infinite or zero.
    let mut left = exponent.clamp(-4 * STEP, 4 * STEP);
    while left != 0 {
        let step = left.clamp(-STEP, STEP);
        value *= (step as f64).exp2();
        left -= step;
    }
    value
}

/// The index of the bucket of a coarser exponential schema that contains bucket `index`; `difference` is by how much it is coarser.
pub(super) fn coarser_index(index: i32, difference: u32) -> i32 {
    (index.wrapping_sub(1) >> difference.min(31)) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_powers_of_the_schemas_base() {
        for (index, schema, expected) in [
            (0, 0, 1.0),
            (1, 0, 2.0),
            (-1, 0, 0.5),
            (1, -1, 4.0),
            (-2, -1, 0.0625),
            (1, 1, std::f64::consts::SQRT_2),
            (3, 1, 2.0 * std::f64::consts::SQRT_2),
            (-1, 1, std::f64::consts::FRAC_1_SQRT_2),
            (8, 3, 2.0),
            (1024, 0, f64::MAX),
            (1025, 0, f64::INFINITY),
            (64, -4, f64::MAX),
            (1024 * 256, 8, f64::MAX),
            (-1074, 0, 5e-324),
            (-1080, 0, 0.0),
        ] {
            assert_eq!(exponential_bound(index, schema), expected, "{index} of schema {schema}");
        }
    }

    #[test]
    fn custom_bounds_end_at_infinity() {
        let bound = |index| upper_bound(index, CUSTOM_BUCKETS_SCHEMA, &[5.0, 10.0]);
        assert_eq!([-1, 0, 1, 2].map(bound), [f64::NEG_INFINITY, 5.0, 10.0, f64::INFINITY]);
    }

    #[test]
    fn a_coarser_bucket_ends_where_its_last_part_does() {
        for index in -20..20 {
            let coarse = coarser_index(index, 1);
            assert!(exponential_bound(coarse, 0) >= exponential_bound(index, 1));
            assert!(exponential_bound(coarse - 1, 0) <= exponential_bound(index - 1, 1));
        }
    }
}
