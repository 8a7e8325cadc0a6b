//! What a process did under Iris, and why it did not do more: the counters behind `IRIS_REPORT`. Owns the names
//! of the reasons; may not do I/O except writing the report itself.

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
}
