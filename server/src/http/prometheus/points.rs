//! The points of a series as JSON: `[[1435781430.781,"1"],[1435781445.781,"2"]]`.

use super::json::{write_float, write_seconds};

/// With more points than this, as a range query never has, the text of their times is not kept.
const KEPT_TIMES_MAX: usize = 16 << 10;

/// Writes points. The series of an answer mostly have the same times, whose text is made once.
#[derive(Debug, Default)]
pub struct PointWriter {
    times: Vec<i64>,
    /// For each time, what stands before its value: `,[1435781430.781,"`. One behind the other.
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl PointWriter {
    /// Makes ready for a series with these timestamps, milliseconds.
    pub fn begin(&mut self, timestamps_ms: &[i64]) {
        if self.times == timestamps_ms {
            return;
        }
        self.times.clear();
        self.text.clear();
        self.ends.clear();
        if timestamps_ms.len() <= KEPT_TIMES_MAX {
            self.times.extend_from_slice(timestamps_ms);
            for &timestamp in timestamps_ms {
                write_before_value(&mut self.text, timestamp);
                self.ends.push(self.text.len());
            }
        }
    }

    /// Appends some of the series' points, from the one at `first` on, each but the very first with a comma before it.
    pub fn write(&self, out: &mut Vec<u8>, first: usize, timestamps_ms: &[i64], values: &[f64]) {
        if self.ends.is_empty() {
            let mut text = Vec::new();
            for (i, (&timestamp, &value)) in timestamps_ms.iter().zip(values).enumerate() {
                text.clear();
                write_before_value(&mut text, timestamp);
                write_point(out, &text[usize::from(first + i == 0)..], value);
            }
            return;
        }
        let mut start = first.checked_sub(1).map_or(1, |before| self.ends[before]);
        for (&end, &value) in self.ends[first..].iter().zip(values) {
            write_point(out, &self.text[start..end], value);
            start = end;
        }
    }
}

#[inline]
fn write_point(out: &mut Vec<u8>, before_value: &[u8], value: f64) {
    out.extend_from_slice(before_value);
    write_float(out, value);
    out.extend_from_slice(b"\"]");
}

fn write_before_value(out: &mut Vec<u8>, timestamp_ms: i64) {
    out.extend_from_slice(b",[");
    write_seconds(out, timestamp_ms);
    out.extend_from_slice(b",\"");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(points: &mut PointWriter, timestamps_ms: &[i64], values: &[f64], block: usize) -> String {
        let mut out = Vec::new();
        points.begin(timestamps_ms);
        for (i, values) in values.chunks(block).enumerate() {
            points.write(&mut out, i * block, &timestamps_ms[i * block..], values);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn points_are_separated_whatever_blocks_they_are_written_in() {
        let mut points = PointWriter::default();
        for block in 1..4 {
            let written = text(&mut points, &[0, 1500, 3000], &[1.0, 0.5, f64::NAN], block);
            assert_eq!(written, r#"[0,"1"],[1.500,"0.5"],[3,"NaN"]"#);
        }
        assert_eq!(text(&mut points, &[1000], &[2.0], 1), r#"[1,"2"]"#);
        assert_eq!(text(&mut points, &[], &[], 1), "");
    }

    #[test]
    fn times_that_are_not_kept_give_the_same_text() {
        let timestamps: Vec<i64> = (0..KEPT_TIMES_MAX as i64 + 2).collect();
        let values: Vec<f64> = timestamps.iter().map(|&t| t as f64).collect();
        let mut points = PointWriter::default();
        let all = text(&mut points, &timestamps, &values, 512);
        assert!(points.ends.is_empty());
        let kept = text(&mut points, &timestamps[..1000], &values[..1000], 512);
        assert!(all.starts_with(&kept) && all.ends_with(r#","16385"]"#), "{}", &all[all.len() - 20..]);
    }
}
