//! Labels whose values are numbers.

use crate::error::Result;
use crate::exec::row::{ABSENT, Row};

/// Sets `label` to the number of each step. Rows whose steps have different numbers become several.
pub(in crate::exec) fn label_with_numbers(rows: Vec<Row>, label: &str, numbers: &[f64]) -> Result<Vec<Row>> {
    let mut distinct: Vec<u64> = numbers.iter().map(|number| number.to_bits()).collect();
    distinct.sort_unstable();
    distinct.dedup();
    let mut results = Vec::with_capacity(rows.len() * distinct.len());
    for row in rows {
        for &bits in &distinct {
            let labels =
                row.labels.to_builder().set(label, &open_metrics_float(f64::from_bits(bits))).build()?;
            let cell = |(&value, number): (&f64, &f64)| if number.to_bits() == bits { value } else { ABSENT };
            let values: Vec<f64> = row.values.iter().zip(numbers).map(cell).collect();
            results.push(Row { labels, drop_name: row.drop_name, values });
        }
    }
    results.retain(|row| !row.is_empty());
    Ok(results)
}

/// A number as the OpenMetrics text format writes it: always with a point or an exponent.
fn open_metrics_float(value: f64) -> String {
    let text = crate::exec::annotations::go_number(value);
    let is_plain = value.is_finite() && !text.contains(['e', '.']);
    if is_plain { text + ".0" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_have_a_point() {
        let values = [0.0, 1.0, 0.25, -1.0, f64::NAN, f64::INFINITY, 1e-9];
        assert_eq!(values.map(open_metrics_float), ["0.0", "1.0", "0.25", "-1.0", "NaN", "+Inf", "1e-09"]);
    }
}
