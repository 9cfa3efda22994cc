//! Which numbers have come. A stream without faults is one range, however long it is.

/// A set of numbers, kept as ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    /// First and last of each, ascending, neither touching nor overlapping.
    ranges: Vec<(u64, u64)>,
}

impl Numbers {
    /// Adds a number. Returns whether it was new.
    pub(super) fn insert(&mut self, number: u64) -> bool {
        // Nearly always the next one.
        if let Some(last) = self.ranges.last_mut()
            && last.1.checked_add(1) == Some(number)
        {
            last.1 = number;
            return true;
        }
        let at = self.ranges.partition_point(|(_, last)| *last < number);
        if self.ranges.get(at).is_some_and(|(first, _)| *first <= number) {
            return false;
        }
        let touches_next = self.ranges.get(at).is_some_and(|(first, _)| *first == number + 1);
        let touches_before = at > 0 && self.ranges[at - 1].1 + 1 == number;
        match (touches_before, touches_next) {
            (true, true) => {
                self.ranges[at - 1].1 = self.ranges[at].1;
                self.ranges.remove(at);
            }
            (true, false) => self.ranges[at - 1].1 = number,
            (false, true) => self.ranges[at].0 = number,
            (false, false) => self.ranges.insert(at, (number, number)),
        }
        true
    }

    pub(super) fn clear(&mut self) {
        self.ranges.clear();
    }

    /// First and last of each range, ascending.
    pub(super) fn ranges(&self) -> &[(u64, u64)] {
        &self.ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_any_order_become_ranges() {
        let mut numbers = Numbers::default();
        for number in [3, 4, 9, 7, 1, 2, 8, 20] {
            assert!(numbers.insert(number), "{number}");
        }
        assert_eq!(numbers.ranges(), [(1, 4), (7, 9), (20, 20)]);
        for number in [1, 3, 4, 8, 20] {
            assert!(!numbers.insert(number), "{number}");
        }
    }
}
