//! TSBS's cpu-only data: a host has 10 tags and 10 fields, each a random walk of integers between 0 and 100.

use std::io::Write;
use std::ops::Range;

/// The fields of a line.
pub(crate) const FIELDS: [&str; 10] = [
    "usage_user",
    "usage_system",
    "usage_idle",
    "usage_nice",
    "usage_iowait",
    "usage_irq",
    "usage_softirq",
    "usage_steal",
    "usage_guest",
    "usage_guest_nice",
];
/// 2026-01-01 00:00:00 UTC, nanoseconds.
pub(crate) const START_NS: u64 = 1_767_225_600_000_000_000;
const REGIONS: [&str; 9] = [
    "us-east-1",
    "us-west-1",
    "us-west-2",
    "eu-west-1",
    "eu-central-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-northeast-1",
    "sa-east-1",
];

const HOUR_NS: u64 = 3_600_000_000_000;

/// The lines of some hosts, in order of time.
pub(crate) struct Generator {
    /// `cpu,hostname=…` up to the fields, for each host.
    prefixes: Vec<String>,
    values: Vec<[f64; FIELDS.len()]>,
    random: Random,
    rows_each: usize,
    interval_ns: u64,
    /// The share of lines that are an hour late.
    late: f64,
    row: usize,
    host: usize,
}

impl Generator {
    /// `late` is the share of lines whose time is an hour before the others'.
    pub(crate) fn new(hosts: Range<usize>, rows_each: usize, interval_s: u64, late: f64) -> Self {
        let mut random = Random(hosts.start as u64 + 1);
        let prefixes = hosts.clone().map(|host| prefix(host, &mut random)).collect();
        let values = hosts.map(|_| std::array::from_fn(|_| random.uniform() * 100.0)).collect();
        let interval_ns = interval_s * 1_000_000_000;
        Self { prefixes, values, random, rows_each, interval_ns, late, row: 0, host: 0 }
    }

    /// The next lines, with `bytes` bytes or a little more; `None` when there are none left.
    pub(crate) fn body(&mut self, bytes: usize) -> Option<Vec<u8>> {
        let mut body = Vec::with_capacity(bytes + 1024);
        while self.row < self.rows_each && body.len() < bytes {
            self.line(&mut body);
            self.host += 1;
            if self.host == self.prefixes.len() {
                self.host = 0;
                self.row += 1;
            }
        }
        (!body.is_empty()).then_some(body)
    }

    fn line(&mut self, body: &mut Vec<u8>) {
        body.extend_from_slice(self.prefixes[self.host].as_bytes());
        for (field, value) in FIELDS.iter().zip(&mut self.values[self.host]) {
            *value = (*value + self.random.normal()).clamp(0.0, 100.0);
            let separator = if *field == FIELDS[0] { ' ' } else { ',' };
            // Writing to a vector cannot fail.
            let _ = write!(body, "{separator}{field}={}i", *value as u64);
        }
        let late_ns = if self.late > 0.0 && self.random.uniform() < self.late { HOUR_NS } else { 0 };
        let _ = writeln!(body, " {}", START_NS + self.row as u64 * self.interval_ns - late_ns);
    }
}

fn prefix(host: usize, random: &mut Random) -> String {
    let region = REGIONS[random.below(REGIONS.len())];
    let zone = [b'a', b'b', b'c'][random.below(3)] as char;
    let os = ["Ubuntu15.10", "Ubuntu16.10", "Ubuntu16.04LTS"][random.below(3)];
    let arch = ["x64", "x86"][random.below(2)];
    let team = ["SF", "NYC", "LON", "CHI"][random.below(4)];
    let environment = ["production", "staging", "test"][random.below(3)];
    format!(
        "cpu,hostname=host_{host},region={region},datacenter={region}{zone},rack={},os={os},arch={arch},team={team},\
         service={},service_version={},service_environment={environment}",
        random.below(100),
        random.below(20),
        random.below(2),
    )
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Near enough to a standard normal deviate: the sum of twelve uniform ones has variance 1.
    fn normal(&mut self) -> f64 {
        let bits = self.next();
        let more = self.next();
        let twelve = (0..6).flat_map(|i| [bits >> (10 * i) & 0x3ff, more >> (10 * i) & 0x3ff]);
        twelve.map(|part| part as f64 / 1023.0).sum::<f64>() - 6.0
    }
}
