//! Series of a list as a source of label pairs: for those who have labels and nothing that numbers them.

use super::dictionary::{PairSource, contradiction};
use crate::error::Result;
use crate::labels::Labels;

/// Series given by their labels.
#[derive(Debug)]
pub struct ListedSeries {
    labels: Vec<Labels>,
    /// Sorted.
    pairs: Vec<(Box<str>, Box<str>)>,
    /// The series of each pair.
    series: Vec<Vec<u32>>,
}

impl ListedSeries {
    /// Series numbered as they come.
    #[must_use]
    pub fn new(labels: Vec<Labels>) -> Self {
        let all = labels.iter().flat_map(|labels| labels.iter());
        let mut pairs: Vec<(Box<str>, Box<str>)> =
            all.map(|(name, value)| (name.into(), value.into())).collect();
        pairs.sort_unstable();
        pairs.dedup();
        let mut listed = Self { labels, series: vec![Vec::new(); pairs.len()], pairs };
        for id in 0..listed.labels.len() {
            for pair in listed.numbers(id) {
                listed.series[pair as usize].push(id as u32);
            }
        }
        listed
    }

    fn numbers(&self, series: usize) -> Vec<u32> {
        let find = |(name, value): (&str, &str)| {
            let found = self.pairs.binary_search_by(|pair| (&*pair.0, &*pair.1).cmp(&(name, value)));
            found.ok().map(|at| at as u32)
        };
        self.labels.get(series).map(|labels| labels.iter().filter_map(find).collect()).unwrap_or_default()
    }
}

impl PairSource for ListedSeries {
    fn series_count(&self) -> usize {
        self.labels.len()
    }

    fn pair_count(&self) -> usize {
        self.pairs.len()
    }

    fn pairs_in_order(&self) -> Option<Vec<u32>> {
        None
    }

    fn pair_text(&self, pair: u32) -> Result<(&str, &str)> {
        let (name, value) = self.pairs.get(pair as usize).ok_or_else(contradiction)?;
        Ok((name, value))
    }

    fn pairs_of_series(&self, series: u32, out: &mut Vec<u32>) -> Result<()> {
        out.extend(self.numbers(series as usize));
        Ok(())
    }

    fn series_of_pair(&self, pair: u32, out: &mut Vec<u32>) -> Result<()> {
        out.extend(self.series.get(pair as usize).ok_or_else(contradiction)?);
        Ok(())
    }
}
