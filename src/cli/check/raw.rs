//! System calls that a program makes by itself, with an instruction of its own instead of through libc, where no
//! preloaded library can see them. Owns the search for such instructions; knows no files.

use super::elf::{Code, Function, Text};
use std::collections::BTreeMap;

/// One place in a program that enters the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// Address of the instruction.
    pub address: u64,
    /// Number of the system call, when it is put in place right before.
    pub number: Option<i64>,
    /// The function that it is in, when the program names its functions.
    pub function: Option<String>,
}

/// What the raw system calls of one file mean for Iris.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Calls on files, by name, with the functions that make them.
    pub files: BTreeMap<&'static str, Vec<String>>,
    /// Places whose call is not known before the program runs (`syscall()`-like functions), by function.
    pub unknown: Vec<String>,
    /// Places that make calls of other kinds (time, threads, memory …).
    pub other: usize,
}

impl Summary {
    /// Sorts what [`find`] found.
    pub fn of(found: &[Raw]) -> Summary {
        let mut summary = Summary::default();
        for raw in found {
            let place = raw.function.clone().unwrap_or_else(|| format!("{:#x}", raw.address));
            match raw.number.map(file_call) {
                Some(Some(name)) => {
                    let places = summary.files.entry(name).or_default();
                    if !places.contains(&place) {
                        places.push(place);
                    }
                }
                Some(None) => summary.other += 1,
                None if !summary.unknown.contains(&place) => summary.unknown.push(place),
                None => {}
            }
        }
        summary
    }

    /// Whether nothing here concerns files.
    pub fn harmless(&self) -> bool {
        self.files.is_empty() && self.unknown.is_empty()
    }
}

/// Finds the instructions that enter the kernel.
///
/// Some libraries keep tables of data between their functions, in which any bytes may stand. So a place counts
/// when it lies in something with a name or with unwind information, or when the number of the call is put in
/// place right before it.
pub fn find(text: &Text<'_>) -> Vec<Raw> {
    let mut found = Vec::new();
    for piece in &text.code {
        instructions(piece, &mut found);
    }
    for raw in &mut found {
        raw.function = function_at(&text.functions, raw.address).map(str::to_string);
    }
    if !text.unwound.is_empty() {
        found.retain(|r| r.number.is_some() || r.function.is_some() || covered(&text.unwound, r.address));
    }
    found
}

fn function_at(functions: &[Function], address: u64) -> Option<&str> {
    let after = functions.partition_point(|f| f.address <= address);
    let f = functions[..after].last()?;
    (address < f.address + f.size).then_some(f.name.as_str())
}

fn covered(ranges: &[(u64, u64)], address: u64) -> bool {
    let after = ranges.partition_point(|(start, _)| *start <= address);
    ranges[..after].last().is_some_and(|(start, len)| address - start < *len)
}

/// Decodes from the start of each section, so that bytes inside a longer instruction are not taken for one.
#[cfg(target_arch = "x86_64")]
fn instructions(code: &Code<'_>, found: &mut Vec<Raw>) {
    use iced_x86::{Code as Op, Decoder, DecoderOptions, Mnemonic, OpKind, Register};
    // Most files have none at all: the two bytes are looked for first.
    if !code.bytes.windows(2).any(|w| w == [0x0f, 0x05] || w == [0x0f, 0x34] || w == [0xcd, 0x80]) {
        return;
    }
    let mut number: Option<i64> = None;
    for i in Decoder::with_ip(64, code.bytes, code.address, DecoderOptions::NONE).iter() {
        let writes_rax = i.op_count() > 0
            && i.op0_kind() == OpKind::Register
            && matches!(
                i.op0_register(),
                Register::RAX | Register::EAX | Register::AX | Register::AL | Register::AH
            );
        match i.mnemonic() {
            Mnemonic::Syscall | Mnemonic::Sysenter => {
                found.push(Raw { address: i.ip(), number, function: None });
                number = None;
            }
            Mnemonic::Int if i.immediate8() == 0x80 => {
                // The numbers of this gate are those of 32-bit x86: not worth a table.
                found.push(Raw { address: i.ip(), number: None, function: None });
                number = None;
            }
            Mnemonic::Mov if writes_rax => {
                number = match i.code() {
                    Op::Mov_r32_imm32 => Some(i64::from(i.immediate32())),
                    Op::Mov_rm64_imm32 => Some(i.immediate32to64()),
                    _ => None,
                }
            }
            Mnemonic::Xor if writes_rax && i.op1_kind() == OpKind::Register => {
                number = (i.op0_register() == i.op1_register()).then_some(0);
            }
            Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Push => {}
            Mnemonic::Call | Mnemonic::Ret | Mnemonic::Jmp => number = None,
            _ if writes_rax => number = None,
            _ => {}
        }
    }
}

#[cfg(target_arch = "aarch64")]
fn instructions(code: &Code<'_>, found: &mut Vec<Raw>) {
    let mut number = None;
    for (i, word) in code.bytes.chunks_exact(4).enumerate() {
        let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        match word {
            // svc #0
            0xd400_0001 => {
                found.push(Raw { address: code.address + 4 * i as u64, number, function: None });
                number = None;
            }
            // movz w8|x8, #imm16
            w if w & 0x7fe0_001f == 0x5280_0008 => number = Some(i64::from((w >> 5) & 0xffff)),
            // Any other instruction whose destination is x8, and calls and returns.
            w if w & 0x1f == 8 || w & 0xfc00_0000 == 0x9400_0000 || w == 0xd65f_03c0 => number = None,
            _ => {}
        }
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn instructions(_code: &Code<'_>, _found: &mut Vec<Raw>) {}

/// The name of a system call that reads, writes, names or changes files.
fn file_call(number: i64) -> Option<&'static str> {
    FILE_CALLS.iter().find(|(n, _)| *n == number).map(|(_, name)| name.strip_prefix("SYS_").unwrap_or(name))
}

macro_rules! calls {
    ($($name:ident)*) => { [$((libc::$name, stringify!($name))),*] };
}

#[cfg(target_arch = "x86_64")]
const FILE_CALLS: &[(i64, &str)] = &calls! {
    SYS_read SYS_write SYS_open SYS_close SYS_stat SYS_fstat SYS_lstat SYS_lseek SYS_pread64
    SYS_pwrite64 SYS_readv SYS_writev SYS_access SYS_msync SYS_dup SYS_dup2 SYS_sendfile SYS_fork SYS_vfork
    SYS_execve SYS_fcntl SYS_flock SYS_fsync SYS_fdatasync SYS_truncate SYS_ftruncate SYS_getdents SYS_chdir
    SYS_fchdir SYS_rename SYS_mkdir SYS_rmdir SYS_creat SYS_link SYS_unlink SYS_symlink SYS_chmod SYS_fchmod
    SYS_utime SYS_utimes SYS_io_setup SYS_io_submit SYS_openat SYS_newfstatat SYS_unlinkat SYS_renameat SYS_linkat
    SYS_splice SYS_tee SYS_vmsplice SYS_sync_file_range SYS_utimensat SYS_fallocate SYS_dup3 SYS_preadv SYS_pwritev
    SYS_getdents64 SYS_renameat2 SYS_execveat SYS_copy_file_range SYS_preadv2 SYS_pwritev2 SYS_statx
    SYS_io_uring_setup SYS_io_uring_enter SYS_openat2 SYS_close_range
};

#[cfg(not(target_arch = "x86_64"))]
const FILE_CALLS: &[(i64, &str)] = &calls! {
    SYS_read SYS_write SYS_close SYS_fstat SYS_lseek SYS_pread64 SYS_pwrite64 SYS_readv SYS_writev
    SYS_msync SYS_dup SYS_sendfile SYS_execve SYS_fcntl SYS_flock SYS_fsync SYS_fdatasync SYS_truncate SYS_ftruncate
    SYS_chdir SYS_fchdir SYS_fchmod SYS_io_setup SYS_io_submit SYS_openat SYS_newfstatat SYS_unlinkat SYS_linkat
    SYS_splice SYS_tee SYS_vmsplice SYS_sync_file_range SYS_utimensat SYS_fallocate SYS_dup3 SYS_preadv SYS_pwritev
    SYS_getdents64 SYS_renameat2 SYS_execveat SYS_copy_file_range SYS_preadv2 SYS_pwritev2 SYS_statx
    SYS_io_uring_setup SYS_io_uring_enter SYS_openat2 SYS_close_range
};

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    fn numbers(bytes: &[u8]) -> Vec<Option<i64>> {
        let text = Text { code: vec![Code { address: 0x1000, bytes }], ..Text::default() };
        find(&text).into_iter().map(|r| r.number).collect()
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_number_put_in_place_before_is_found() {
        // mov $1,%eax; mov %rsi,%rdi; syscall
        assert_eq!(numbers(&[0xb8, 1, 0, 0, 0, 0x48, 0x89, 0xf7, 0x0f, 0x05]), [Some(1)]);
        // xor %eax,%eax; syscall
        assert_eq!(numbers(&[0x31, 0xc0, 0x0f, 0x05]), [Some(0)]);
        // mov $202,%rax; syscall; syscall
        assert_eq!(numbers(&[0x48, 0xc7, 0xc0, 202, 0, 0, 0, 0x0f, 0x05, 0x0f, 0x05]), [Some(202), None]);
        // mov %rdi,%rax; syscall: a function like syscall(3)
        assert_eq!(numbers(&[0x48, 0x89, 0xf8, 0x0f, 0x05]), [None]);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_same_bytes_inside_an_instruction_are_none() {
        // mov $0x050f,%ecx; lea 0x50f(%rip),%rdx
        assert_eq!(numbers(&[0xb9, 0x0f, 0x05, 0, 0, 0x48, 0x8d, 0x15, 0x0f, 0x05, 0, 0]), [None; 0]);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn data_between_functions_is_none() {
        let bytes = [0x90, 0x0f, 0x05, 0xb8, 1, 0, 0, 0, 0x0f, 0x05, 0x0f, 0x05];
        let code = || vec![Code { address: 0x1000, bytes: &bytes }];
        let unwound = vec![(0x1000, 1), (0x100a, 2)];
        let text = Text { code: code(), unwound, ..Text::default() };
        let found: Vec<_> = find(&text).into_iter().map(|r| r.address).collect();
        assert_eq!(found, [0x1008, 0x100a], "the first stands in nothing and has no number");
        let named = Function { address: 0x1000, size: 3, name: "f".into() };
        let text = Text { code: code(), functions: vec![named], unwound: vec![(0x2000, 1)] };
        assert_eq!(find(&text)[0].function.as_deref(), Some("f"));
    }

    #[test]
    fn calls_are_sorted_by_what_they_touch() {
        let raw = |number, f: &str| Raw { address: 16, number, function: Some(f.to_string()) };
        let found = [
            raw(Some(libc::SYS_pwrite64), "flush"),
            raw(Some(libc::SYS_pwrite64), "flush"),
            raw(Some(libc::SYS_futex), "wait"),
            raw(None, "generic"),
        ];
        let summary = Summary::of(&found);
        assert_eq!(summary.files, BTreeMap::from([("pwrite64", vec!["flush".to_string()])]));
        assert_eq!((summary.unknown, summary.other), (vec!["generic".to_string()], 1));
        assert!(Summary::of(&found[2..3]).harmless());
    }
}
