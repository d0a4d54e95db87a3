//! What PromQL computes of native histograms, without any data around them: buckets and their bounds, sums, counter resets,
//! quantiles. The model is Prometheus's `FloatHistogram`, and so are the rules, down to which interpolation is used where.

mod bounds;
mod buckets;
mod equality;
mod moments;
mod quantile;
mod reset;
mod sum;
mod text;
mod trim;

pub use buckets::{Bucket, buckets};
pub(crate) use equality::same;
pub(crate) use moments::{average, variance};
pub(crate) use quantile::{NanObservations, fraction, quantile};
pub(crate) use reset::is_reset;
pub(crate) use sum::{Incompatible, MEAN_FACTOR, Notes, Sum};
pub(crate) use text::describe;
pub(crate) use trim::trim;

#[cfg(test)]
mod samples;
