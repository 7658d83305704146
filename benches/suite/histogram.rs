//! Durations in buckets: 64 for each power of two, so a quantile is right to about one percent.

const FINE: u32 = 6;

pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; (64 - FINE as usize) << FINE], total: 0 }
    }

    pub(crate) fn add(&mut self, nanos: u64) {
        let bucket = Self::bucket(nanos);
        self.counts[bucket] += 1;
        self.total += 1;
    }

    fn bucket(nanos: u64) -> usize {
        let nanos = nanos.max(1 << FINE);
        let power = 63 - nanos.leading_zeros();
        let fine = (nanos >> (power - FINE)) & ((1 << FINE) - 1);
        (((power - FINE) as usize) << FINE) + fine as usize
    }

    /// The lower end of a bucket.
    fn nanos(bucket: usize) -> u64 {
        let (power, fine) = (bucket >> FINE, bucket & ((1 << FINE) - 1));
        ((1 << FINE) + fine as u64) << power
    }

    /// The duration below which `share` of all lie, in nanoseconds; 0 if there are none.
    pub(crate) fn quantile(&self, share: f64) -> u64 {
        let wanted = (self.total as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= wanted {
                return Self::nanos(bucket);
            }
        }
        0
    }
}
