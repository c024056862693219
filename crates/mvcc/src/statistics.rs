//! What reads cost, counted for each column family.

use engine_traits::Cf;

/// Operations on one column family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CfStatistics {
    /// Entries that contributed to the result.
    pub processed_keys: u64,
    /// Point reads.
    pub get: u64,
    /// Forward steps.
    pub next: u64,
    /// Backward steps.
    pub prev: u64,
    /// Forward seeks.
    pub seek: u64,
    /// Backward seeks.
    pub seek_for_prev: u64,
}

impl CfStatistics {
    /// Operations of any kind: how many entries were looked at.
    #[must_use]
    pub fn total_ops(&self) -> u64 {
        self.get + self.next + self.prev + self.seek + self.seek_for_prev
    }

    /// Adds what another reader counted.
    pub fn add(&mut self, other: &Self) {
        self.processed_keys += other.processed_keys;
        self.get += other.get;
        self.next += other.next;
        self.prev += other.prev;
        self.seek += other.seek;
        self.seek_for_prev += other.seek_for_prev;
    }
}

/// Operations on the three data column families.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// The default column family: long values.
    pub data: CfStatistics,
    /// The lock column family.
    pub lock: CfStatistics,
    /// The write column family.
    pub write: CfStatistics,
    /// Bytes of the encoded user keys and values that were returned.
    pub processed_size: u64,
}

impl Statistics {
    /// The counters of a data column family; `None` for the one that holds no user data.
    #[must_use]
    pub fn cf(&self, cf: Cf) -> Option<&CfStatistics> {
        match cf {
            Cf::Default => Some(&self.data),
            Cf::Lock => Some(&self.lock),
            Cf::Write => Some(&self.write),
            Cf::Raft => None,
        }
    }

    /// Adds what another reader counted.
    pub fn add(&mut self, other: &Self) {
        self.data.add(&other.data);
        self.lock.add(&other.lock);
        self.write.add(&other.write);
        self.processed_size += other.processed_size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_every_counter() {
        let cf = CfStatistics {
            processed_keys: 1,
            get: 2,
            next: 3,
            prev: 4,
            seek: 5,
            seek_for_prev: 6,
        };
        assert_eq!(cf.total_ops(), 20);
        let one = Statistics {
            data: cf,
            lock: cf,
            write: cf,
            processed_size: 7,
        };
        let mut sum = one;
        sum.add(&one);
        for family in Cf::DATA {
            let counted = sum.cf(family).unwrap();
            assert_eq!(
                (counted.total_ops(), counted.processed_keys),
                (40, 2),
                "{family}"
            );
        }
        assert_eq!(sum.processed_size, 14);
        assert_eq!(sum.cf(Cf::Raft), None);
    }
}
