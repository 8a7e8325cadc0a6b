//! A lock inside one process. Owns nothing but the waiting. Standard mutexes are not used on the hooks' way,
//! because a forked child must be able to declare all of them free, and a signal handler that interrupts their
//! owner must be told instead of waiting for itself.

use crate::sys;
use crate::tier0::process::tid;
use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, Ordering};

/// A value behind a lock whose word is the owner's thread id.
pub struct Spin<T> {
    word: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: the value is only reached through a guard, and one guard exists at a time.
unsafe impl<T: Send> Send for Spin<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Spin<T> {}

/// The right to the value; gives the lock back when dropped.
pub struct Guard<'a, T> {
    lock: &'a Spin<T>,
}

impl<T> Spin<T> {
    /// A free lock.
    pub const fn new(value: T) -> Spin<T> {
        Spin { word: AtomicU32::new(0), value: UnsafeCell::new(value) }
    }

    /// Takes the lock. `None`: this very thread holds it, that is, a signal handler interrupted it.
    #[inline]
    pub fn lock(&self) -> Option<Guard<'_, T>> {
        let me = tid();
        if self.word.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return self.lock_slow(me);
        }
        Some(Guard { lock: self })
    }

    #[cold]
    fn lock_slow(&self, me: u32) -> Option<Guard<'_, T>> {
        let mut round = 0u32;
        loop {
            match self.word.compare_exchange_weak(0, me, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(Guard { lock: self }),
                Err(held) if held == me => return None,
                Err(_) => {}
            }
            round += 1;
            match round {
                0..40 => std::hint::spin_loop(),
                40..100 => sys::yield_now(),
                _ => sys::nap(50),
            }
        }
    }

    /// Declares the lock free in the child of a fork, where its owner does not exist.
    ///
    /// # Safety
    /// No guard exists in this process, and the value is in a state its users can go on with.
    pub unsafe fn reset(&self) {
        self.word.store(0, Ordering::Release);
    }

    /// Keeps the lock taken beyond the guard's life; undone by [`Spin::reset`].
    pub fn leak(guard: Guard<'_, T>) {
        std::mem::forget(guard);
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard is the proof of exclusive access.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard is the proof of exclusive access.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.word.store(0, Ordering::Release);
    }
}
