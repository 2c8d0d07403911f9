//! How entries remember their use, in 32 bits each: what LRU and LFU policies choose by.
//!
//! ```text
//! LRU  Unix time in 1/256 s, modulo 2^32: 194 days
//! LFU  31..16 Unix time in minutes, modulo 2^16 | 15..8 logarithmic counter | 7..0 1/256 of that minute
//! 0    nothing is known
//! ```
//! The upper 24 bits are what Redis keeps, and what snapshots store: seconds, or minutes and counter. The lower 8 make two keys
//! differ that were used within one second (LRU), or as often as each other (LFU).

/// [`Usage`] of what changes nothing.
const NOTHING: u8 = 0;
const TIME: u8 = 1;
const COUNT: u8 = 2;

/// The counter that a new key begins with under LFU, so that it is not the next to go.
pub const LFU_INITIAL: u8 = 5;

/// What an access makes of an entry's 32 bits: now, under the policy of the moment.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    kind: u8,
    /// The bits without counter.
    now: u32,
    /// Decides whether a counter goes up.
    chance: u32,
    log_factor: u32,
    decay_minutes: u32,
}

impl Usage {
    /// Leaves entries as they are.
    pub const NOTHING: Usage = Usage { kind: NOTHING, now: 0, chance: 0, log_factor: 0, decay_minutes: 0 };

    /// A time of use.
    #[inline]
    pub fn lru(now_ms: u64) -> Usage {
        Usage { kind: TIME, now: lru_bits(now_ms), ..Usage::NOTHING }
    }

    /// A frequency of use. `chance` is random; the others are `lfu-log-factor` and `lfu-decay-time`.
    #[inline]
    pub fn lfu(now_ms: u64, chance: u32, log_factor: u32, decay_minutes: u32) -> Usage {
        Usage { kind: COUNT, now: lfu_time(now_ms), chance, log_factor, decay_minutes }
    }

    /// Whether it leaves entries as they are.
    #[inline]
    pub fn is_nothing(self) -> bool {
        self.kind == NOTHING
    }

    /// The bits of an entry that is made now.
    #[inline]
    pub fn fresh(self) -> u32 {
        match self.kind {
            COUNT => self.now | u32::from(LFU_INITIAL) << 8,
            _ => self.now,
        }
    }

    /// The bits of an entry that is used now.
    #[inline]
    pub fn touched(self, access: u32) -> u32 {
        match self.kind {
            NOTHING => access,
            TIME => self.now,
            _ => self.counted(access),
        }
    }

    fn counted(self, access: u32) -> u32 {
        if access == 0 {
            return self.fresh();
        }
        let counter = decayed(access, self.now, self.decay_minutes);
        // One in (counter - initial) * factor + 1 accesses counts: 255 stands for about a million at a factor of 10.
        let steps = u64::from(counter.saturating_sub(LFU_INITIAL)) * u64::from(self.log_factor) + 1;
        let counter = counter.saturating_add(u8::from(u64::from(self.chance) * steps < 1 << 32));
        self.now | u32::from(counter) << 8
    }
}

/// Bits of a time of use, never 0.
#[inline]
fn lru_bits(now_ms: u64) -> u32 {
    (((now_ms << 8) / 1000) as u32).max(1)
}

/// The time in LFU's bits, never 0.
#[inline]
fn lfu_time(now_ms: u64) -> u32 {
    let fine = (now_ms << 8) / 60_000;
    ((fine >> 8) as u32) << 16 | (fine as u32 & 0xff).max(1)
}

/// LFU's counter of an entry as of `now`: one less for each `decay_minutes` since its last use; 0 never decays.
#[inline]
fn decayed(access: u32, now: u32, decay_minutes: u32) -> u8 {
    let counter = (access >> 8) as u8;
    let minutes = (now >> 16).wrapping_sub(access >> 16) & 0xffff;
    let periods = minutes.checked_div(decay_minutes).unwrap_or(0);
    counter.saturating_sub(u8::try_from(periods).unwrap_or(u8::MAX))
}

/// Milliseconds since an entry was used, from LRU's bits; `None` if that is not known.
#[inline]
pub fn idle_ms(access: u32, now_ms: u64) -> Option<u64> {
    (access != 0).then(|| (u64::from(lru_age(access, now_ms)) * 1000) >> 8)
}

/// 1/256 s since an entry was used, from LRU's bits.
#[inline]
pub(crate) fn lru_age(access: u32, now_ms: u64) -> u32 {
    lru_bits(now_ms).wrapping_sub(access)
}

/// The bits of an entry that was last used so long ago.
pub fn of_idle(now_ms: u64, idle_ms: u64) -> u32 {
    lru_bits(now_ms.saturating_sub(idle_ms))
}

/// LFU's counter as of now; that of a new entry if nothing is known.
#[inline]
pub fn frequency(access: u32, now_ms: u64, decay_minutes: u32) -> u8 {
    if access == 0 { LFU_INITIAL } else { decayed(access, lfu_time(now_ms), decay_minutes) }
}

/// The bits of an entry whose counter is given, used now.
pub fn of_frequency(now_ms: u64, counter: u8) -> u32 {
    lfu_time(now_ms) | u32::from(counter) << 8
}

/// 1/256 s since an entry was used, from LFU's bits: of those used equally often the oldest goes first.
#[inline]
pub(crate) fn lfu_age(access: u32, now_ms: u64) -> u32 {
    let of = |bits: u32| (bits >> 16) << 8 | bits & 0xff;
    of(lfu_time(now_ms)).wrapping_sub(of(access)) & 0x00ff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_24_bits_are_seconds_or_minutes_and_counter() {
        let now_ms = 1_700_000_123_456;
        assert_eq!(Usage::lru(now_ms).fresh() >> 8, (now_ms / 1000) as u32 & 0xff_ffff);
        let bits = Usage::lfu(now_ms, 0, 10, 1).fresh();
        assert_eq!(bits >> 8, ((now_ms / 60_000) as u32 & 0xffff) << 8 | u32::from(LFU_INITIAL));
    }

    #[test]
    fn idle_time_is_told_to_four_milliseconds_and_over_the_end_of_the_clock() {
        for start in [1_700_000_000_000, (1u64 << 32) * 1000 / 256 - 500] {
            let bits = Usage::lru(start).fresh();
            for idle in [0, 4, 1000, 86_400_000] {
                let told = idle_ms(bits, start + idle).unwrap();
                assert!(told.abs_diff(idle) <= 4, "{told} for {idle}");
            }
        }
        assert_eq!(idle_ms(0, 5), None);
        assert_eq!(idle_ms(of_idle(10_000_000, 1000), 10_000_000), Some(1000));
    }

    #[test]
    fn a_counter_grows_by_chance_and_decays_by_time() {
        let at = |minutes: u64, chance: u32| Usage::lfu(minutes * 60_000, chance, 10, 2);
        let fresh = at(100, 0).fresh();
        assert_eq!(frequency(fresh, 100 * 60_000, 2), 5);
        let used = at(100, u32::MAX).touched(fresh);
        assert_eq!(
            frequency(used, 100 * 60_000, 2),
            6,
            "as long as nothing is above the initial value every use counts"
        );
        let unlucky = at(100, u32::MAX).touched(used);
        assert_eq!(frequency(unlucky, 100 * 60_000, 2), 6);
        let lucky = at(100, 1 << 28).touched(used);
        assert_eq!(frequency(lucky, 100 * 60_000, 2), 7, "one in eleven");
        assert_eq!(frequency(lucky, 105 * 60_000, 2), 5);
        assert_eq!(frequency(lucky, 1000 * 60_000, 2), 0);
        assert_eq!(frequency(lucky, 1000 * 60_000, 0), 7, "0 never decays");
        assert_eq!(frequency(of_frequency(5, 255), 5, 1), 255);
        assert_eq!(frequency(0, 5, 1), 5);
    }

    #[test]
    fn of_equally_frequent_entries_the_older_is_told() {
        let bits = |ms: u64| Usage::lfu(ms, 0, 10, 1).fresh();
        let now = 65_535 * 60_000 + 59_000;
        assert!(lfu_age(bits(now - 1000), now) < lfu_age(bits(now - 2000), now));
        assert!(lfu_age(bits(now), now + 5_000) > 0, "over the end of the minutes");
    }

    #[test]
    fn what_changes_nothing_leaves_the_bits() {
        assert_eq!(Usage::NOTHING.touched(77), 77);
        assert!(Usage::NOTHING.is_nothing() && !Usage::lru(5).is_nothing());
    }
}
