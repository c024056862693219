//! The allocator of ids for stores, regions, peers and operators, without IO.
//!
//! Ids come from a window whose end is on disk; a run starts where the last window ended, so an id
//! is never given twice, though some are never given.

use crate::{Error, Result};

/// Ids of one window.
const WINDOW: u64 = 1000;

/// A granted range that has yet to be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IdPlan {
    /// The last id of the range.
    pub last: u64,
    /// The window's new end, which must be on disk before the range is used.
    pub new_end: Option<u64>,
}

/// See the module.
#[derive(Debug)]
pub struct IdAllocator {
    /// The last id handed out.
    last: u64,
    /// The last id of the window on disk.
    end: u64,
}

impl IdAllocator {
    /// The allocator after a start; `saved_end` is what the disk holds, 0 when nothing.
    pub fn new(saved_end: u64) -> IdAllocator {
        IdAllocator {
            last: saved_end,
            end: saved_end,
        }
    }

    /// A range of `count` ids; 0 counts as 1.
    pub fn plan(&self, count: u32) -> Result<IdPlan> {
        let exhausted = || Error::Refused("all ids are used up".to_owned());
        let count = u64::from(count.max(1));
        let last = self.last.checked_add(count).ok_or_else(exhausted)?;
        let new_end = if last > self.end {
            Some(last.checked_add(WINDOW - 1).ok_or_else(exhausted)?)
        } else {
            None
        };
        Ok(IdPlan { last, new_end })
    }

    /// The end of the window that begins after `base`; none when ids are beyond it already.
    pub fn plan_raise(&self, base: u64) -> Result<Option<u64>> {
        if base <= self.last {
            return Ok(None);
        }
        // Else there would soon be none left.
        if base > u64::MAX / 2 {
            return Err(Error::Refused(format!("id {base} is too large")));
        }
        Ok(Some(self.end.max(base + WINDOW)))
    }

    /// A window is on disk.
    pub fn set_end(&mut self, end: u64) {
        assert!(end >= self.end, "windows only grow");
        self.end = end;
    }

    /// The range up to `last` was handed out.
    pub fn use_up_to(&mut self, last: u64) {
        assert!(last >= self.last && last <= self.end, "within the window");
        self.last = last;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(ids: &mut IdAllocator, count: u32) -> IdPlan {
        let plan = ids.plan(count).unwrap();
        if let Some(end) = plan.new_end {
            ids.set_end(end);
        }
        ids.use_up_to(plan.last);
        plan
    }

    #[test]
    fn ranges_follow_each_other_and_windows_are_rare() {
        let mut ids = IdAllocator::new(0);
        assert_eq!(
            take(&mut ids, 0),
            IdPlan {
                last: 1,
                new_end: Some(1000)
            }
        );
        assert_eq!(
            take(&mut ids, 999),
            IdPlan {
                last: 1000,
                new_end: None
            }
        );
        assert_eq!(
            take(&mut ids, 1),
            IdPlan {
                last: 1001,
                new_end: Some(2000)
            }
        );
        assert_eq!(
            take(&mut ids, 5000),
            IdPlan {
                last: 6001,
                new_end: Some(7000)
            }
        );
        // The next run skips what may have been handed out.
        assert_eq!(take(&mut IdAllocator::new(7000), 1).last, 7001);
        assert!(IdAllocator::new(u64::MAX - 5).plan(10).is_err());
        assert!(IdAllocator::new(u64::MAX - 5).plan(2).is_err());
    }

    #[test]
    fn ids_are_raised_never_lowered() {
        let mut ids = IdAllocator::new(1000);
        assert_eq!(ids.plan_raise(1000), Ok(None));
        assert_eq!(ids.plan_raise(5000), Ok(Some(6000)));
        ids.set_end(6000);
        ids.use_up_to(5000);
        assert_eq!(take(&mut ids, 1).last, 5001);
        assert_eq!(ids.plan_raise(17), Ok(None));
        assert!(ids.plan_raise(u64::MAX).is_err());
    }
}
