//! Which requests are staged where the threshold is `auto`: by what each size was measured to cost on either side. Owns the
//! measurements of one mount in this process; neither stages nor writes.

use crate::config::Mount;
use crate::spin::Spin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Writes shorter than this are always staged, without looking at a clock.
pub const LEAST: u64 = 64 << 10;
/// Sizes from [`LEAST`] on, each class twice the one before.
const CLASSES: usize = 9;
/// Writes of a class after which the dearer side is tried again.
const AGAIN: u32 = 64;
/// Bytes from which bringing staged bytes home at close tells what that costs.
const MEASURED: u64 = 64 << 10;

/// What was measured of one size.
struct Class {
    /// Nanoseconds that staging a write took, room for it included; 0 before any did.
    staged: AtomicU64,
    /// Nanoseconds that a write of the directory took; 0 before any did.
    base: AtomicU64,
    /// Writes so far.
    count: AtomicU32,
}

/// The choice between Tier 0 and the directory.
pub struct Choice {
    classes: [Class; CLASSES],
    /// Nanoseconds for each MiB that a program waited at close for staged bytes to come home.
    closing: AtomicU64,
}

static CHOICES: Spin<Vec<(usize, &'static Choice)>> = Spin::new(Vec::new());

/// The choice of a mount.
pub fn of(mount: &'static Mount) -> Option<&'static Choice> {
    let mut all = CHOICES.lock()?;
    let which = std::ptr::from_ref(mount).addr();
    if let Some((_, known)) = all.iter().find(|(at, _)| *at == which) {
        return Some(known);
    }
    let choice: &'static Choice = Box::leak(Box::new(Choice::new()));
    all.push((which, choice));
    Some(choice)
}

/// Before fork.
pub fn lock() {
    if let Some(all) = CHOICES.lock() {
        Spin::leak(all);
    }
}

/// After fork, in the parent and in the child.
///
/// # Safety
/// Follows [`lock`] on the same thread (in the child: its copy).
pub unsafe fn unlock() {
    // SAFETY: by contract.
    unsafe { CHOICES.reset() };
}

impl Choice {
    fn new() -> Choice {
        let class = || Class { staged: AtomicU64::new(0), base: AtomicU64::new(0), count: AtomicU32::new(0) };
        Choice { classes: std::array::from_fn(|_| class()), closing: AtomicU64::new(0) }
    }

    fn class(&self, len: u64) -> Option<&Class> {
        let number = (len / LEAST).checked_ilog2()? as usize;
        self.classes.get(number)
    }

    /// Whether a write of `len` bytes is to be staged; what is too large for all classes is not.
    pub fn stages(&self, len: u64) -> bool {
        if len < LEAST {
            return true;
        }
        let Some(class) = self.class(len) else { return false };
        let number = class.count.fetch_add(1, Ordering::Relaxed);
        let (staged, base) = (class.staged.load(Ordering::Relaxed), class.base.load(Ordering::Relaxed));
        if staged == 0 || base == 0 {
            return staged == 0;
        }
        let home = (u128::from(self.closing.load(Ordering::Relaxed)) * u128::from(len)) >> 20;
        let cheaper = u128::from(staged) + home < u128::from(base);
        cheaper != (number % AGAIN == AGAIN - 1)
    }

    /// Notes what a write cost that was staged, or went to the directory.
    pub fn wrote(&self, len: u64, staged: bool, ns: u64) {
        if let Some(class) = self.class(len) {
            average(if staged { &class.staged } else { &class.base }, ns);
        }
    }

    /// Notes what a program waited for its staged bytes at close.
    pub fn closed(&self, bytes: u64, ns: u64) {
        if bytes >= MEASURED {
            average(&self.closing, ((u128::from(ns) << 20) / u128::from(bytes)) as u64);
        }
    }
}

/// Takes a measurement in; newer ones count more.
fn average(value: &AtomicU64, new: u64) {
    let old = value.load(Ordering::Relaxed);
    let next = if old == 0 { new } else { old - old / 4 + new / 4 };
    value.store(next.max(1), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of 1,000 writes of `len` bytes, how many are staged where each side costs this.
    fn staged(len: u64, staged: u64, base: u64, closing: u64) -> u32 {
        let choice = Choice::new();
        (0..1000)
            .map(|_| {
                let stages = choice.stages(len);
                choice.wrote(len, stages, if stages { staged } else { base });
                choice.closed(1 << 20, closing);
                u32::from(stages)
            })
            .sum()
    }

    #[test]
    fn the_cheaper_side_gets_nearly_all() {
        assert!(staged(1 << 20, 100, 1000, 0) > 970);
        assert!(staged(1 << 20, 1000, 100, 0) < 30);
        assert!(staged(1 << 20, 100, 1000, 5000) < 30, "what is saved now is paid at close");
    }

    #[test]
    fn the_other_side_is_tried_again() {
        assert!(staged(1 << 20, 100, 1000, 0) < 1000 && staged(1 << 20, 1000, 100, 0) > 1);
    }

    #[test]
    fn short_writes_are_staged_and_huge_ones_are_not() {
        let choice = Choice::new();
        assert!(choice.stages(0) && choice.stages(LEAST - 1) && !choice.stages(LEAST << CLASSES));
    }
}
