//! Decoded samples: two columns of equal length.

/// Two columns of equal length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// Nanoseconds since the epoch.
    pub timestamps: Vec<i64>,
    /// One value for each timestamp.
    pub values: Vec<f64>,
}

impl Samples {
    /// Forgets the samples and keeps the memory.
    pub fn clear(&mut self) {
        self.timestamps.clear();
        self.values.clear();
    }

    /// How many samples there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// Whether there is no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }
}

/// Sorts by time; of samples with the same timestamp the one that stood last stays.
pub(crate) fn sort_last_wins(samples: &mut Samples) {
    if samples.timestamps.is_sorted_by(|a, b| a < b) {
        return;
    }
    let mut order: Vec<u32> = (0..samples.timestamps.len() as u32).collect();
    order.sort_by_key(|i| samples.timestamps[*i as usize]);
    let mut sorted = Samples::default();
    for i in order {
        let (timestamp, value) = (samples.timestamps[i as usize], samples.values[i as usize]);
        match sorted.values.last_mut() {
            Some(last) if sorted.timestamps.last() == Some(&timestamp) => *last = value,
            _ => {
                sorted.timestamps.push(timestamp);
                sorted.values.push(value);
            }
        }
    }
    *samples = sorted;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_equal_timestamps_stays() {
        let mut samples = Samples { timestamps: vec![3, 1, 3, 2, 1], values: vec![1.0, 2.0, 3.0, 4.0, 5.0] };
        sort_last_wins(&mut samples);
        assert_eq!(samples, Samples { timestamps: vec![1, 2, 3], values: vec![5.0, 4.0, 3.0] });
    }
}
