//! Faults all round: full disks, missing or foreign or damaged Tier 0, exhausted limits. Each gives what the design
//! says: nothing acknowledged is lost in silence, a clear error that names what to do, never wrong data, and the
//! program goes on.
//!
//! Needs root, for the small file systems.

#[path = "model/bed.rs"]
mod bed;
#[path = "faults/disk.rs"]
mod disk;
#[path = "faults/inodes.rs"]
mod inodes;
#[path = "faults/limits.rs"]
mod limits;
#[path = "faults/place.rs"]
mod place;
#[path = "faults/pool.rs"]
mod pool;
#[path = "faults/storage.rs"]
mod storage;
