//! Which scripts are tried: sizes and offsets round every boundary, few files and descriptors so that operations
//! meet, and profiles so that each case dwells on something. Owns the proptest strategies.

use crate::script::{CONSISTENCY, Op, SETTLE, Script, Setup};
use proptest::prelude::*;
use proptest::strategy::Union;

/// Sizes at which something changes: words, sectors, pages, the default threshold, Tier 0's blocks.
const EDGES: [i64; 27] = [
    0, 1, 7, 63, 64, 65, 511, 512, 513, 4032, 4095, 4096, 4097, 8192, 16384, 65535, 65536, 65537, 258_048,
    262_080, 262_143, 262_144, 262_145, 266_240, 1_048_575, 1_048_576, 1_048_577,
];

fn size() -> BoxedStrategy<i64> {
    prop_oneof![
        4 => prop::sample::select(&EDGES[..16]),
        2 => prop::sample::select(&EDGES[..]),
        5 => 0..300i64,
        2 => 0..70_000i64,
    ]
    .boxed()
}

/// Far places, and the last one of ext4.
const FAR: [i64; 5] = [5 << 30, (1 << 40) + 3, 1 << 43, (1 << 44) - 4096 - 10, (1 << 44) - 4096];

fn offset() -> BoxedStrategy<i64> {
    prop_oneof![
        8 => 0..1000i64,
        6 => prop::sample::select(&EDGES[..]),
        6 => 0..20_000i64,
        4 => 0..1_200_000i64,
        4 => (prop::sample::select(&EDGES[..]), prop::sample::select(&EDGES[..]), -1..2i64)
            .prop_map(|(a, b, c)| (a + b + c).max(0)),
        1 => prop::sample::select(&FAR[..]),
    ]
    .boxed()
}

/// Also the impossible ones.
fn any_offset() -> BoxedStrategy<i64> {
    prop_oneof![60 => offset(), 1 => prop::sample::select(vec![-1, -4096, i64::MAX, i64::MAX - 5, i64::MIN])]
        .boxed()
}

fn flags() -> BoxedStrategy<i64> {
    let access = prop_oneof![
        8 => Just(libc::O_RDWR), 3 => Just(libc::O_WRONLY), 3 => Just(libc::O_RDONLY)
    ];
    let some = |flag: i32, of_ten: u32| prop_oneof![of_ten => Just(flag), 10 - of_ten => Just(0)];
    (
        access,
        some(libc::O_CREAT, 7),
        some(libc::O_TRUNC, 2),
        some(libc::O_APPEND, 3),
        some(libc::O_EXCL, 1),
        prop_oneof![
            24 => Just(0), 1 => Just(libc::O_SYNC), 1 => Just(libc::O_DSYNC), 1 => Just(libc::O_DIRECT),
            2 => Just(libc::O_CLOEXEC), 1 => Just(libc::O_NOFOLLOW), 1 => Just(libc::O_NONBLOCK),
            1 => Just(libc::O_PATH), 1 => Just(libc::O_NOATIME)
        ],
    )
        .prop_map(|(a, b, c, d, e, f)| i64::from(a | b | c | d | e | f))
        .boxed()
}

fn op(verb: &'static str, args: Vec<BoxedStrategy<i64>>) -> BoxedStrategy<Op> {
    (0..4usize, args).prop_map(move |(process, args)| Op { process, verb: verb.into(), args }).boxed()
}

fn pick(from: &[i64]) -> BoxedStrategy<i64> {
    prop::sample::select(from.to_vec()).boxed()
}

fn upto(n: i64) -> BoxedStrategy<i64> {
    (0..n).boxed()
}

fn slot() -> BoxedStrategy<i64> {
    prop_oneof![3 => Just(0i64), 3 => Just(1i64), 1 => Just(2i64), 1 => Just(3i64)].boxed()
}

fn name() -> BoxedStrategy<i64> {
    prop_oneof![4 => Just(0i64), 3 => Just(1i64), 1 => 2..6i64].boxed()
}

type Weighted = Vec<(u32, BoxedStrategy<Op>)>;

/// Reads, writes and seeks: part of every profile.
fn requests() -> Weighted {
    let tag = || upto(10_000);
    vec![
        (10, op("write", vec![slot(), size(), tag()])),
        (10, op("pwrite", vec![slot(), size(), any_offset(), tag()])),
        (8, op("read", vec![slot(), size()])),
        (10, op("pread", vec![slot(), size(), any_offset()])),
        (3, op("writev", vec![slot(), size(), upto(1000), tag()])),
        (3, op("readv", vec![slot(), size(), upto(1000)])),
        (3, op("pwritev", vec![slot(), size(), upto(1000), any_offset(), pick(&[-1, 0, 2, 4, 16]), tag()])),
        (3, op("preadv", vec![slot(), size(), upto(1000), any_offset(), pick(&[-1, 0, 4])])),
        (5, op("lseek", vec![slot(), any_offset(), pick(&[0, 0, 0, 3, 4])])),
        (3, op("lseek", vec![slot(), (-5000..5000i64).boxed(), pick(&[1, 2, 2, 7])])),
        (5, op("open", vec![slot(), name(), flags(), pick(&[0o644, 0o600, 0o666]), upto(3)])),
        (3, op("close", vec![slot()])),
    ]
}

fn changes() -> Weighted {
    vec![
        (6, op("ftruncate", vec![slot(), any_offset()])),
        (3, op("truncate", vec![name(), any_offset()])),
        (6, op("fstat", vec![slot()])),
        (4, op("stat", vec![name()])),
        (3, op("fsync", vec![slot(), upto(3)])),
        (3, op("fallocate", vec![slot(), pick(&[3, 3, 0, 1, 16, 17, 8, 32]), offset(), size()])),
        (2, op("setfl", vec![slot(), pick(&[0, libc::O_APPEND.into(), libc::O_NONBLOCK.into()])])),
        (1, op("bad", vec![slot(), upto(6), size(), offset()])),
    ]
}

fn names() -> Weighted {
    vec![
        (4, op("rename", vec![name(), name(), pick(&[0, 0, 0, 1, 2])])),
        (4, op("unlink", vec![name()])),
        (3, op("link", vec![name(), name()])),
        (3, op("stat", vec![name()])),
        (4, op("open", vec![slot(), name(), flags(), pick(&[0o644, 0o400]), upto(3)])),
    ]
}

fn descriptors() -> Weighted {
    vec![(4, op("dup", vec![slot(), slot(), upto(8)])), (3, op("close", vec![slot()]))]
}

/// What a number stands for changes, and who uses it.
fn numbers() -> Weighted {
    // From the sixth on they lie outside.
    let any = || prop_oneof![4 => Just(0i64), 3 => Just(1i64), 1 => 2..6i64, 4 => 6..8i64].boxed();
    vec![
        (6, op("reopen", vec![slot(), any(), flags(), upto(8)])),
        (3, op("dup", vec![slot(), slot(), upto(8)])),
        (4, op("thread", vec![upto(2)])),
    ]
}

fn processes() -> Weighted {
    vec![(4, op("fork", vec![])), (2, op("exec", vec![])), (3, op("exit", vec![upto(5)]))]
}

fn moves() -> Weighted {
    let maybe = || prop_oneof![2 => Just(-1i64), 2 => offset()].boxed();
    vec![
        (3, op("sendfile", vec![slot(), slot(), maybe(), size(), Just(-1).boxed()])),
        (3, op("copyrange", vec![slot(), slot(), maybe(), size(), maybe()])),
        (2, op("splice", vec![slot(), slot(), size()])),
        (
            3,
            op(
                "mmap",
                vec![
                    upto(2),
                    slot(),
                    pick(&[0, 0, 4096, 262_144]),
                    pick(&[1, 4096, 65536, 1 << 20]),
                    pick(&[1, 3, 3]),
                ],
            ),
        ),
        (4, op("mread", vec![upto(2), upto(70_000), size()])),
        (4, op("mwrite", vec![upto(2), upto(70_000), size(), upto(10_000)])),
        (2, op("munmap", vec![upto(2)])),
        (1, op("msync", vec![upto(2), upto(2)])),
    ]
}

fn streams() -> Weighted {
    let stream = || prop_oneof![4 => Just(0i64), 2 => Just(1i64), 1 => Just(2i64)].boxed();
    vec![
        (5, op("fopen", vec![stream(), name(), upto(11), pick(&[0, 0, 0, 1, 2, 3])])),
        (1, op("freopen", vec![stream(), name(), upto(11)])),
        (2, op("fdopen", vec![stream(), slot(), upto(11)])),
        (3, op("fclose", vec![stream()])),
        (8, op("fwrite", vec![stream(), size(), upto(10_000)])),
        (4, op("fprintf", vec![stream(), upto(1_000_000)])),
        (2, op("fputc", vec![stream(), upto(1000)])),
        (6, op("fread", vec![stream(), size()])),
        (3, op("fgets", vec![stream(), upto(6000)])),
        (2, op("fgetc", vec![stream()])),
        (2, op("ungetc", vec![stream(), upto(1000)])),
        (5, op("fseek", vec![stream(), offset(), Just(0).boxed()])),
        (3, op("fseek", vec![stream(), (-3000..3000i64).boxed(), pick(&[1, 2])])),
        (3, op("ftell", vec![stream()])),
        (2, op("fflush", vec![stream()])),
    ]
}

fn limits() -> Weighted {
    vec![(3, op("fsize", vec![pick(&[-1, 0, 100, 5000, 65536, 300_000])]))]
}

fn profile(parts: &[Weighted], min: usize, max: usize) -> BoxedStrategy<Vec<Op>> {
    prop::collection::vec(Union::new_weighted(parts.concat()), min..max).boxed()
}

fn ops() -> BoxedStrategy<Vec<Op>> {
    let all = [requests(), changes(), names(), descriptors(), numbers(), processes(), moves(), streams()];
    prop_oneof![
        4 => profile(&[requests(), changes()], 4, 60),
        3 => profile(&[requests(), names(), changes()], 4, 50),
        3 => profile(&[requests(), descriptors(), processes()], 4, 50),
        3 => profile(&[requests(), numbers(), changes()], 4, 50),
        2 => profile(&[requests(), moves(), changes()], 4, 50),
        3 => profile(&[streams(), changes()], 4, 50),
        2 => profile(&[streams(), requests(), processes()], 4, 50),
        1 => profile(&[requests(), changes(), limits()], 4, 50),
        3 => profile(&all, 4, 60),
        1 => profile(&all, 100, 300),
    ]
    .boxed()
}

fn setup() -> BoxedStrategy<Setup> {
    (
        1..4usize,
        0..3u64,
        prop_oneof![6 => Just(0u64), 1 => Just(1u64), 1 => Just(2u64)],
        prop_oneof![6 => Just(65536u64), 1 => Just(64u64), 1 => Just(4096u64), 2 => Just(1u64 << 20), 1 => Just(0u64)],
        prop_oneof![2 => Just(256u64 << 10), 1 => Just(512u64 << 10), 3 => Just(1u64 << 20), 2 => Just(4u64 << 20), 3 => Just(64u64 << 20)],
        prop_oneof![4 => Just(1u64), 2 => Just(5u64), 3 => Just(1000u64)],
        prop_oneof![2 => Just(0u64), 1 => Just(2u64)],
        prop_oneof![4 => Just(CONSISTENCY[0]), 2 => Just(CONSISTENCY[1]), 1 => Just(CONSISTENCY[2])],
        prop_oneof![6 => Just(SETTLE[0]), 1 => Just(SETTLE[1]), 1 => Just(SETTLE[2])],
    )
        .prop_map(|(processes, initial, ending, threshold, memory, flush_ms, warm_up, consistency, settle)| Setup {
            processes,
            initial,
            ending,
            threshold,
            memory,
            flush_ms,
            warm_up,
            consistency,
            settle,
        })
        .boxed()
}

const SEEK_DATA: i64 = libc::SEEK_DATA as i64;
const SEEK_HOLE: i64 = libc::SEEK_HOLE as i64;
const PUNCH_HOLE: i64 = libc::FALLOC_FL_PUNCH_HOLE as i64;

/// Whether preallocated blocks are holes depends on which of their pages happen to be cached, natively too: a
/// script has either preallocation or looks for holes.
fn decide_holes(mut script: Script) -> Script {
    let preallocates = |op: &Op| op.verb == "fallocate" && op.args[1] & PUNCH_HOLE == 0;
    if script.ops.iter().any(preallocates) {
        for op in &mut script.ops {
            if op.verb == "lseek" && (op.args[2] == SEEK_DATA || op.args[2] == SEEK_HOLE) {
                op.args[2] = 0;
            }
        }
    }
    script
}

/// At the largest offset of a file system glibc's own streams do odd things, each kind of stream its own.
fn decide_far(script: Script) -> Script {
    if script.ops.iter().any(Op::is_stdio) { nearer(script) } else { script }
}

/// The script without the largest offsets of a file system.
pub fn nearer(mut script: Script) -> Script {
    let args = script.ops.iter_mut().flat_map(|op| &mut op.args);
    args.filter(|a| FAR.contains(a)).for_each(|a| *a = (*a).min(FAR[2]));
    script
}

/// A single process sees its own writes whatever the consistency; several see each other's only under posix, and
/// only there does a killed process lose nothing.
fn decide_consistency(mut script: Script) -> Script {
    let setup = &mut script.setup;
    let alone = |op: &Op| op.verb != "fork" && (op.verb != "exit" || op.args[0] != 2);
    if setup.processes > 1 || setup.ending != 0 || !script.ops.iter().all(alone) {
        setup.consistency = CONSISTENCY[0];
    }
    script
}

/// All scripts.
pub fn scripts() -> impl Strategy<Value = Script> {
    (setup(), ops())
        .prop_map(|(setup, ops)| decide_consistency(decide_far(decide_holes(Script { setup, ops }))))
}
