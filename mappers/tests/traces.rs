//! Replays of traces through every mapper. These are small ones made here, of the kinds that the published traces
//! have; `cargo bench -p iris-mappers --bench mapping-cost -- --traces DIR` replays recorded ones.

mod support;

use iris_mappers::{Op, Registry};
use std::fmt::Write;
use support::replay::{Request, parse, replay};
use support::{PLAIN, RICH};

/// A header, then records that are appended, some changed again, and all read back in another size.
fn made(unit: u64, count: u64) -> String {
    let mut text = "FOPEN,0,0\nWRITE,0,24\n".to_owned();
    for i in 0..count {
        let _ = writeln!(text, "WRITE,{},{unit}", 24 + i * unit);
        if i % 7 == 3 {
            let _ = writeln!(text, "LSEEK,{},{}\nWRITE,{},{}", 24 + (i + 1) * unit, i * 5, i * 5, unit / 3);
        }
    }
    text.push_str("FCLOSE,0,0\nFOPEN,0,0\n");
    for at in (0..24 + count * unit).step_by(100_000) {
        let _ = writeln!(text, "READ,{at},131072");
    }
    text
}

#[test]
fn traces_come_back_byte_for_byte() {
    for (unit, count) in [(28_800, 60), (131_072, 20), (3504, 300), (2_800_000, 3)] {
        let requests = parse(&made(unit, count)).unwrap();
        for maker in Registry::own().makers() {
            for caps in [RICH, PLAIN] {
                let name = maker.name();
                let out = replay(&requests, caps, move || Registry::own().make(name).unwrap());
                let out = out.unwrap_or_else(|e| panic!("{name}, {unit} bytes: {e}"));
                assert!(
                    out.compared >= 2 * 24 + count * unit && out.reads > 0 && out.writes > count,
                    "{out:?}"
                );
            }
        }
    }
}

#[test]
fn what_is_no_trace_is_refused_by_line() {
    let read = Request { op: Op::Read, offset: 3, len: 4 };
    assert_eq!(parse("FOPEN,0,0\n\nREAD,3,4\n"), Ok(vec![read]));
    for (text, words) in [
        ("READ,1\n", "line 1: `READ,1` is not OP,OFFSET,SIZE"),
        ("FOPEN,0,0\nREED,1,2\n", "line 2: `REED` is no operation"),
        ("WRITE,-1,2\n", "is not OP"),
        ("WRITE,9223372036854775807,2\n", "is out of range"),
    ] {
        assert!(parse(text).unwrap_err().contains(words), "{text}");
    }
}
