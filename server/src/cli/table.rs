//! Tables and sparklines for a terminal.

/// Where a column's text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Rows of text in columns as wide as their widest cell.
#[derive(Debug)]
pub(super) struct Table {
    align: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(columns: &[(&str, Align)]) -> Self {
        let head = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        Self { align: columns.iter().map(|(_, align)| *align).collect(), rows: vec![head] }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(super) fn render(&self) -> String {
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.align.len()).map(width).collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), align) in row.iter().zip(&widths).zip(&self.align) {
                let cell = match align {
                    Align::Left => format!("{cell:<width$}  "),
                    Align::Right => format!("{cell:>width$}  "),
                };
                line.push_str(&cell);
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// Draws (time, value) points between two times in `width` characters: the mean of each character's points, scaled from
/// the lowest to the highest mean; a blank where there is none.
pub(super) fn sparkline(points: &[(f64, f64)], first: f64, last: f64, width: usize) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let mut sums = vec![(0.0, 0_u32); width];
    for (time, value) in points.iter().filter(|(_, value)| value.is_finite()) {
        let place = if last > first { (time - first) / (last - first) * width as f64 } else { 0.0 };
        let (sum, count) = &mut sums[(place as usize).min(width - 1)];
        *sum += value;
        *count += 1;
    }
    let means = sums.iter().map(|(sum, count)| (*count > 0).then(|| sum / f64::from(*count)));
    let (low, high) = means
        .clone()
        .flatten()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), mean| (low.min(mean), high.max(mean)));
    let level = |mean: f64| {
        let height = if high > low { (mean - low) / (high - low) } else { 0.0 };
        LEVELS[((height * LEVELS.len() as f64) as usize).min(LEVELS.len() - 1)]
    };
    means.map(|mean| mean.map_or(' ', level)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparklines_scale_and_leave_gaps() {
        let points = [(0.0, 0.0), (1.0, 5.0), (3.0, 10.0), (4.0, f64::NAN)];
        assert_eq!(sparkline(&points, 0.0, 4.0, 4), "▁▅ █");
        assert_eq!(sparkline(&[(1.0, 3.0)], 1.0, 1.0, 3), "▁  ");
        assert_eq!(sparkline(&[], 0.0, 0.0, 2), "  ");
    }
}
