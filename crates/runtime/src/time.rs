//! Points in time and where they come from. Owns the process's one time origin; must never schedule
//! anything (that is `timer`), and is the only place of the workspace's product code that reads the
//! machine's clocks.

use std::{
    ops::{Add, AddAssign, Sub},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

/// A point on the monotonic axis. All system clocks of a process share one axis; each virtual clock
/// has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

/// Where every axis begins. Not zero, so that code may look a while back from "now" right after the
/// start.
const ORIGIN: Instant = Instant(3_600 * 1_000_000_000);

/// Unix time at which a virtual clock begins: 2024-01-01T00:00:00Z, a plausible time for code that
/// packs it in 46 bits.
const VIRTUAL_UNIX_START_NANOS: u64 = 1_704_067_200 * 1_000_000_000;

impl Instant {
    /// Later than every instant that a clock returns within centuries.
    pub const MAX: Self = Self(u64::MAX);

    /// Nanoseconds since the axis began: for accounting that wants a plain number.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to `self`, zero when `earlier` is later.
    #[must_use]
    pub const fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// `self - d`, or nothing when that lies before the axis.
    #[must_use]
    pub fn checked_sub(self, d: Duration) -> Option<Self> {
        self.0
            .checked_sub(u64::try_from(d.as_nanos()).ok()?)
            .map(Self)
    }
}

/// Saturates at [`Instant::MAX`]: a wait "for ever" is no error.
impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, d: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, d: Duration) {
        *self = *self + d;
    }
}

/// Same as [`Instant::saturating_duration_since`]: clocks of other threads may be read in any
/// order.
impl Sub for Instant {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

/// A source of monotonic and wall time. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Virtual(VirtualClock),
}

impl Clock {
    /// The machine's clocks.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// Now, on the monotonic axis.
    #[must_use]
    pub fn now(&self) -> Instant {
        match &self.0 {
            Source::System => system_now(),
            Source::Virtual(clock) => clock.now(),
        }
    }

    /// Wall time in nanoseconds since the Unix epoch. It may jump in both directions.
    #[must_use]
    pub fn unix_nanos(&self) -> u64 {
        match &self.0 {
            Source::System => system_unix_nanos(),
            Source::Virtual(clock) => clock.unix_nanos(),
        }
    }

    /// Wall time in milliseconds since the Unix epoch. It may jump in both directions.
    #[must_use]
    pub fn unix_millis(&self) -> u64 {
        self.unix_nanos() / 1_000_000
    }
}

#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the seam that the lint points to"
)]
fn system_now() -> Instant {
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    let start = START.get_or_init(std::time::Instant::now);
    ORIGIN + start.elapsed()
}

#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the seam that the lint points to"
)]
fn system_unix_nanos() -> u64 {
    // A machine whose clock stands before 1970 reads as 1970; the year 2554 ends the range.
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}

/// Time that moves only when told. Clones share it.
#[derive(Clone, Debug)]
pub struct VirtualClock(Arc<VirtualTime>);

#[derive(Debug)]
struct VirtualTime {
    now: AtomicU64,
    /// How far wall time is off from what has elapsed; the tests' clock jumps.
    unix_jump_nanos: AtomicI64,
}

impl Default for VirtualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl VirtualClock {
    /// A clock at the beginning of its axis.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(VirtualTime {
            now: AtomicU64::new(ORIGIN.0),
            unix_jump_nanos: AtomicI64::new(0),
        }))
    }

    /// The same time as a [`Clock`].
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock(Source::Virtual(self.clone()))
    }

    /// Now, on this clock's axis.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant(self.0.now.load(Ordering::SeqCst))
    }

    /// Wall time: a fixed start, what has elapsed, and the jumps.
    #[must_use]
    pub fn unix_nanos(&self) -> u64 {
        let elapsed = self.now() - ORIGIN;
        let regular = VIRTUAL_UNIX_START_NANOS
            .saturating_add(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
        regular.saturating_add_signed(self.0.unix_jump_nanos.load(Ordering::SeqCst))
    }

    /// Moves both times forward. Wakes nobody: under a stepper use `Stepper::advance`.
    pub fn advance(&self, d: Duration) {
        self.advance_to(self.now() + d);
    }

    /// Moves the monotonic time to `at`, unless it is already later: it never goes back.
    pub fn advance_to(&self, at: Instant) {
        self.0.now.fetch_max(at.0, Ordering::SeqCst);
    }

    /// Lets wall time jump by `nanos`, forward or back; monotonic time does not notice.
    pub fn jump_unix(&self, nanos: i64) {
        self.0.unix_jump_nanos.fetch_add(nanos, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_time_moves_forward_on_one_axis() {
        let a = Clock::system().now();
        let b = Clock::system().now();
        assert!(b >= a);
        assert!(a >= ORIGIN);
        assert!(Clock::system().unix_millis() > 1_700_000_000_000);
    }

    #[test]
    fn arithmetic_saturates() {
        let a = ORIGIN;
        let b = a + Duration::from_millis(5);
        assert_eq!(b - a, Duration::from_millis(5));
        assert_eq!(a - b, Duration::ZERO);
        assert_eq!(a + Duration::MAX, Instant::MAX);
        assert_eq!(b.checked_sub(Duration::from_millis(5)), Some(a));
        assert_eq!(a.checked_sub(Duration::MAX), None);
    }

    #[test]
    fn virtual_time_moves_when_told() {
        let time = VirtualClock::new();
        let clock = time.clock();
        let (start, unix) = (clock.now(), clock.unix_millis());
        time.advance(Duration::from_secs(2));
        assert_eq!(clock.now() - start, Duration::from_secs(2));
        assert_eq!(clock.unix_millis(), unix + 2_000);
        time.advance_to(start);
        assert_eq!(clock.now() - start, Duration::from_secs(2));
        time.jump_unix(-5_000_000_000);
        assert_eq!(clock.unix_millis(), unix - 3_000);
        assert_eq!(clock.now() - start, Duration::from_secs(2));
    }
}
