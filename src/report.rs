//! What a process did under Iris, and why it did not do more: the counters behind `IRIS_REPORT`. Owns the names
//! of the reasons; may not do I/O except writing the report itself.

use crate::sys;
use rustix::fs::OFlags;
use std::ffi::CStr;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a file, a descriptor or a single call went to the kernel instead of the overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bypass {
    /// The request is not shorter than the mount's threshold: large requests go straight to the file.
    Large,
    /// Not a regular file.
    NotRegular,
    /// Outside every mount.
    Outside,
    /// Opened with O_SYNC or O_DSYNC: every write must be durable by itself.
    Synchronous,
    /// Opened with O_DIRECT.
    Direct,
    /// The file is or was memory-mapped.
    Mapped,
    /// sendfile, splice, copy_file_range, aio, io_uring or a like call moves bytes inside the kernel.
    InKernel,
    /// The descriptor is shared with another process since a fork; its offset lives in the kernel.
    Shared,
    /// The descriptor was handed to another program (exec, a socket) or put on 0, 1 or 2.
    Inherited,
    /// Tier 0 is full, or its table of files is.
    Tier0Full,
    /// There is no usable Tier 0 (no folder, no permission, another version's pool).
    NoTier0,
    /// A process limit (RLIMIT_FSIZE, the largest offset) has to be enforced by the kernel.
    Limit,
    /// The request's buffer is not addressable; the kernel answers EFAULT.
    BadBuffer,
    /// Staging was measured not to pay for this file.
    NoGain,
    /// The process is exiting: writes go through.
    Exiting,
    /// Wide-character stdio, which glibc cannot run on a cookie stream.
    WideStdio,
    /// The store beside the directory has failed, a moment ago or now: bytes go to the directory.
    StoreDown,
    /// That store is full.
    StoreFull,
}

/// All reasons, in the order of their numbers.
pub const REASONS: [(Bypass, &str); 18] = [
    (Bypass::Large, "large"),
    (Bypass::NotRegular, "not_regular"),
    (Bypass::Outside, "outside"),
    (Bypass::Synchronous, "synchronous"),
    (Bypass::Direct, "direct"),
    (Bypass::Mapped, "mapped"),
    (Bypass::InKernel, "in_kernel"),
    (Bypass::Shared, "shared"),
    (Bypass::Inherited, "inherited"),
    (Bypass::Tier0Full, "tier0_full"),
    (Bypass::NoTier0, "no_tier0"),
    (Bypass::Limit, "limit"),
    (Bypass::BadBuffer, "bad_buffer"),
    (Bypass::NoGain, "no_gain"),
    (Bypass::Exiting, "exiting"),
    (Bypass::WideStdio, "wide_stdio"),
    (Bypass::StoreDown, "store_down"),
    (Bypass::StoreFull, "store_full"),
];

static BYPASSED: [AtomicU64; REASONS.len()] = [const { AtomicU64::new(0) }; REASONS.len()];

/// What is counted besides bypasses.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub enum Count {
    /// Descriptors on mounted files.
    Opened,
    /// Writes staged in Tier 0.
    StagedWrites,
    /// Bytes of these.
    StagedBytes,
    /// Writes of mounted files that went straight to the file.
    BaseWrites,
    /// Bytes of these.
    BaseBytes,
    /// Reads that merged staged bytes.
    MergedReads,
    /// Reads served from bytes read ahead.
    AheadReads,
    /// Writes by which flushes took staged bytes home.
    FlushWrites,
    /// Bytes of these.
    FlushBytes,
    /// Errors that a flush met.
    FlushErrors,
    /// Requests of MPI-IO that went past the MPI library.
    MpiDirect,
    /// Bytes that left Tier 0 for a store.
    SpilledBytes,
    /// Pieces that reads fetched from what was spilled.
    FarReads,
}

const COUNTS: [&str; 13] = [
    "opened",
    "staged_writes",
    "staged_bytes",
    "base_writes",
    "base_bytes",
    "merged_reads",
    "ahead_reads",
    "flush_writes",
    "flush_bytes",
    "flush_errors",
    "mpi_direct",
    "spilled_bytes",
    "far_reads",
];

static COUNTED: [AtomicU64; COUNTS.len()] = [const { AtomicU64::new(0) }; COUNTS.len()];

/// Counts a bypass.
#[inline]
pub fn bypassed(why: Bypass) {
    BYPASSED[why as usize].fetch_add(1, Ordering::Relaxed);
}

/// Adds to a count.
#[inline]
pub fn add(what: Count, n: u64) {
    COUNTED[what as usize].fetch_add(n, Ordering::Relaxed);
}

/// A forked child counts from 0.
pub fn reset() {
    BYPASSED.iter().chain(&COUNTED).for_each(|c| c.store(0, Ordering::Relaxed));
}

/// One line of JSON about this process, without the end of line.
pub fn line() -> String {
    let mut comm = [0u8; 64];
    let comm = sys::read_small(c"/proc/self/comm", &mut comm).unwrap_or(b"?");
    let comm: String = String::from_utf8_lossy(comm)
        .trim_end()
        .chars()
        .map(|c| if c == '"' || c == '\\' || c < ' ' { '?' } else { c })
        .collect();
    let mut text = format!("{{\"pid\":{},\"program\":\"{comm}\"", sys::pid());
    for (name, count) in COUNTS.iter().zip(&COUNTED) {
        // Writing to a String cannot fail.
        let _ = write!(text, ",\"{name}\":{}", count.load(Ordering::Relaxed));
    }
    text.push_str(",\"bypassed\":{");
    let mut comma = "";
    for ((_, name), count) in REASONS.iter().zip(&BYPASSED) {
        let n = count.load(Ordering::Relaxed);
        if n > 0 {
            let _ = write!(text, "{comma}\"{name}\":{n}");
            comma = ",";
        }
    }
    text.push_str("}}");
    text
}

/// Appends this process's line to the report file. A report that cannot be written is not worth failing for.
pub fn write_to(path: &CStr) {
    let text = line() + "\n";
    if let Ok(fd) = sys::open(path, OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND, 0o666) {
        // SAFETY: the string is readable for its length.
        let _ = unsafe { sys::write(fd.raw(), text.as_ptr(), text.len()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_number_and_name() {
        for (i, (reason, _)) in REASONS.iter().enumerate() {
            assert_eq!(*reason as usize, i);
        }
        bypassed(Bypass::Mapped);
        assert!(line().contains("\"mapped\":"));
    }
}
