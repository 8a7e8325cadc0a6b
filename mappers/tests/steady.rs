//! Planning allocates nothing in the steady state. A test of its own, because it counts the allocations of the
//! whole process.

use iris_mappers::{Facts, MAX_FILE, Op, Plan, Registry, Store};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as required of the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as required of the caller.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static GLOBAL: Counting = Counting;

#[test]
fn a_reused_plan_allocates_nothing() {
    let store = Store { range_read: true, range_write: true, conditional_put: true, max_object: MAX_FILE };
    let facts = Facts { size: 1 << 30, store };
    for maker in Registry::own().makers() {
        let mut mapper = Registry::own().make(maker.name()).unwrap();
        let mut plan = Plan::default();
        let mut fresh = 0;
        let mut go = |requests: u64| {
            for i in 0..requests {
                let offset = (i * 7919) % (1 << 18) * 4096;
                plan.clear();
                mapper.plan_write(&facts, offset, 4 << 20, fresh, &mut plan).unwrap();
                fresh += plan.taken;
                plan.clear();
                mapper.plan_read(&facts, offset, 9 << 20, &mut plan).unwrap();
                assert!(!plan.pieces.is_empty());
                mapper.observe(Op::Read, 4096);
            }
        };
        go(2);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        go(1000);
        assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 0, "mapper {}", maker.name());
    }
}
