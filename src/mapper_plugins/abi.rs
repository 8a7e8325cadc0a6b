//! The structures of `include/iris_mapper.h`, as Rust sees them. Owns their layout, and nothing else.

use std::ffi::{c_char, c_int, c_void};

#[repr(C)]
pub(super) struct CFacts {
    pub(super) size: u64,
    pub(super) max_object: u64,
    pub(super) store: u32,
    pub(super) reserved: u32,
}

#[repr(C)]
pub(super) struct CPiece {
    pub(super) number: u64,
    pub(super) level: u32,
    pub(super) how: u32,
    pub(super) at: u64,
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) guard: u32,
    pub(super) reserved: u32,
}

#[repr(C)]
pub(super) struct CObjects {
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) level: u32,
    pub(super) reserved: u32,
}

pub(super) type CRecord = [u8; 28];
pub(super) type Text = *const c_char;

#[repr(C)]
pub(super) struct Calls {
    pub(super) piece: unsafe extern "C" fn(*mut c_void, *const CPiece),
    pub(super) remove: unsafe extern "C" fn(*mut c_void, *const CObjects),
    pub(super) record: unsafe extern "C" fn(*mut c_void, *const CRecord),
    pub(super) intent: unsafe extern "C" fn(*mut c_void, *const CRecord),
    pub(super) take: unsafe extern "C" fn(*mut c_void, u64),
}

pub(super) type PlanRange =
    unsafe extern "C" fn(*const c_void, *const CFacts, u64, u64, *mut c_void, *const Calls) -> Text;

/// `iris_mapper`
#[repr(C)]
pub(super) struct Ops {
    pub(super) abi: u32,
    pub(super) size: u32,
    pub(super) name: Text,
    pub(super) about: Text,
    pub(super) create: Option<unsafe extern "C" fn(Text, *mut *mut c_void) -> Text>,
    pub(super) destroy: Option<unsafe extern "C" fn(*mut c_void)>,
    pub(super) plan_write: Option<
        unsafe extern "C" fn(*const c_void, *const CFacts, u64, u64, u64, *mut c_void, *const Calls) -> Text,
    >,
    pub(super) plan_read: Option<PlanRange>,
    pub(super) plan_truncate:
        Option<unsafe extern "C" fn(*const c_void, *const CFacts, u64, *mut c_void, *const Calls) -> Text>,
    pub(super) plan_remove:
        Option<unsafe extern "C" fn(*const c_void, *const CFacts, *mut c_void, *const Calls) -> Text>,
    pub(super) standing: Option<unsafe extern "C" fn(*const c_void, *const CFacts, u32, u64) -> c_int>,
    pub(super) apply: Option<unsafe extern "C" fn(*mut c_void, *const CRecord) -> Text>,
    pub(super) garbage: Option<
        unsafe extern "C" fn(
            *const c_void,
            u64,
            *mut c_void,
            unsafe extern "C" fn(*mut c_void, *const CObjects),
        ),
    >,
    pub(super) collected: Option<unsafe extern "C" fn(*mut c_void, *const CObjects) -> Text>,
    pub(super) snapshot: Option<
        unsafe extern "C" fn(*const c_void, *mut c_void, unsafe extern "C" fn(*mut c_void, *const CRecord)),
    >,
    pub(super) reset: Option<unsafe extern "C" fn(*mut c_void)>,
}

// SAFETY: a table that its library never changes once it has given it out, by the header; the texts in it too.
unsafe impl Sync for Ops {}
