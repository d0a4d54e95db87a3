//! Sums and means that keep the rounding error of each addition, so that they are as good as if computed in twice the
//! precision. Source: Neumaier, "Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen" (1974); the error
//! of one addition comes without a branch from Knuth's TwoSum ("The Art of Computer Programming", volume 2, 4.2.2).

/// A sum and the error that it carries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CompensatedSum {
    pub(crate) sum: f64,
    pub(crate) error: f64,
}

impl Default for CompensatedSum {
    /// The sum of nothing. It is the zero that leaves every number as it is: `-0 + -0` is `-0`, but `0 + -0` is `0`.
    fn default() -> Self {
        Self { sum: -0.0, error: 0.0 }
    }
}

impl CompensatedSum {
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        let total = self.sum + value;
        let added = total - self.sum;
        let rounding = (self.sum - (total - added)) + (value - added);
        self.error = if total.is_infinite() { 0.0 } else { self.error + rounding };
        self.sum = total;
    }

    #[inline]
    pub(crate) fn merge(&mut self, other: Self) {
        self.add(other.sum);
        if self.sum.is_finite() {
            self.error += other.error;
        }
    }

    /// The sum with its error; without one, the sum keeps its sign when it is zero.
    #[inline]
    pub(crate) fn total(self) -> f64 {
        if self.error == 0.0 || self.sum.is_infinite() { self.sum } else { self.sum + self.error }
    }

    /// The sum divided by `count`; it may be that the sum is not finite, but the quotient would be.
    #[inline]
    pub(crate) fn mean(self, count: f64) -> f64 {
        if self.error == 0.0 { self.sum / count } else { self.sum / count + self.error / count }
    }
}

impl FromIterator<f64> for CompensatedSum {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut sum = Self::default();
        values.into_iter().for_each(|value| sum.add(value));
        sum
    }
}

/// A mean: the sum over the count, until the sum would overflow; from then on a running mean.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::exec) struct Mean {
    /// The sum, or the mean once `running`.
    value: CompensatedSum,
    count: f64,
    running: bool,
}

impl Mean {
    #[inline]
    pub(in crate::exec) fn add(&mut self, value: f64) {
        if !self.running {
            let mut sum = self.value;
            sum.add(value);
            if !sum.sum.is_infinite() || self.count == 0.0 {
                self.value = sum;
                self.count += 1.0;
                return;
            }
            self.run();
        }
        self.count += 1.0;
        self.weigh((self.count - 1.0) / self.count, CompensatedSum { sum: value / self.count, error: 0.0 });
    }

    pub(in crate::exec) fn merge(&mut self, mut other: Self) {
        if other.count == 0.0 {
            return;
        }
        if self.count == 0.0 {
            *self = other;
            return;
        }
        if !self.running && !other.running {
            let mut sum = self.value;
            sum.merge(other.value);
            if !sum.sum.is_infinite() {
                self.value = sum;
                self.count += other.count;
                return;
            }
        }
        self.run();
        other.run();
        let count = self.count + other.count;
        let weight = other.count / count;
        let share = CompensatedSum { sum: other.value.sum * weight, error: other.value.error * weight };
        let kept = self.count / count;
        self.count = count;
        self.weigh(kept, share);
    }

    pub(in crate::exec) fn is_empty(&self) -> bool {
        self.count == 0.0
    }

    pub(in crate::exec) fn value(&self) -> f64 {
        self.value.mean(if self.running { 1.0 } else { self.count })
    }

    fn run(&mut self) {
        if !self.running {
            self.value.sum /= self.count;
            self.value.error /= self.count;
            self.running = true;
        }
    }

    /// Keeps `weight` of the running mean and adds `share`.
    fn weigh(&mut self, weight: f64, share: CompensatedSum) {
        self.value.sum *= weight;
        self.value.error *= weight;
        self.value.merge(share);
    }
}

impl FromIterator<f64> for Mean {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut mean = Self::default();
        values.into_iter().for_each(|value| mean.add(value));
        mean
    }
}
