//! Replays a recorded trace of I/O through a mapper on a store in memory, and checks every byte of every read and
//! of the file at the end. A trace has lines `OP,OFFSET,SIZE` with OP one of FOPEN, FCLOSE, LSEEK, READ, WRITE.

use super::File;
use iris_mappers::{MAX_FILE, Mapper, Op, Store};

/// A request of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub op: Op,
    pub offset: u64,
    pub len: u64,
}

/// The reads and writes of a trace. `Err` names the line that is none.
pub fn parse(text: &str) -> Result<Vec<Request>, String> {
    let mut requests = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let mut fields = line.trim().split(',');
        let (op, rest): (_, Vec<&str>) = (fields.next().unwrap_or(""), fields.collect());
        let number = |i: usize| rest.get(i).and_then(|n: &&str| n.parse::<u64>().ok());
        let (Some(offset), Some(len), 2) = (number(0), number(1), rest.len()) else {
            return Err(format!("line {}: `{line}` is not OP,OFFSET,SIZE", i + 1));
        };
        let op = match op {
            "READ" => Op::Read,
            "WRITE" => Op::Write,
            "FOPEN" | "FCLOSE" | "LSEEK" => continue,
            _ => return Err(format!("line {}: `{op}` is no operation", i + 1)),
        };
        if offset.checked_add(len).is_none_or(|end| end > MAX_FILE) || len > 1 << 30 {
            return Err(format!("line {}: `{line}` is out of range", i + 1));
        }
        requests.push(Request { op, offset, len });
    }
    Ok(requests)
}

/// What a replay came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub reads: u64,
    pub writes: u64,
    /// Objects that reads touched, and that writes did.
    pub read_pieces: u64,
    pub write_pieces: u64,
    /// Bytes that were compared.
    pub compared: u64,
    /// Bytes of the file, and of its objects, at the end.
    pub size: u64,
    pub stored: u64,
}

/// Bytes of request `i`: never zero, and different for each request.
fn bytes(i: u64, len: u64) -> Vec<u8> {
    let mut state = i.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8 | 1
        })
        .collect()
}

/// Replays, with a step of upkeep and a collection now and then, and two processes that take turns.
pub fn replay(
    requests: &[Request],
    caps: Store,
    make: impl Fn() -> Box<dyn Mapper> + 'static,
) -> Result<Outcome, String> {
    let mut file = File::new(caps, 2, make);
    let mut out = Outcome::default();
    // What is read must be there before.
    let filled = requests.iter().filter(|r| r.op == Op::Read).map(|r| r.offset + r.len).max().unwrap_or(0);
    let chunk = 4 << 20;
    for at in (0..filled).step_by(chunk as usize) {
        let len = chunk.min(filled - at);
        file.write(0, at, &bytes(u64::MAX - at, len), usize::MAX)?;
    }
    for (i, r) in requests.iter().enumerate() {
        let process = i % 2;
        file.observe(process, r.op, r.len);
        match r.op {
            Op::Write => {
                file.write(process, r.offset, &bytes(i as u64, r.len), usize::MAX)?;
                out.writes += 1;
                out.write_pieces += file.pieces() as u64;
            }
            Op::Read => {
                file.check(process, r.offset, r.len).map_err(|e| format!("request {i}: {e}"))?;
                out.reads += 1;
                out.read_pieces += file.pieces() as u64;
                out.compared += r.len;
            }
        }
        if i % 16 == 15 {
            file.upkeep(process, 8 << 20, usize::MAX);
            file.collect(process, usize::MAX);
        }
    }
    file.rebuild(1);
    for at in (0..file.size).step_by(chunk as usize) {
        file.check(1, at, chunk)?;
        out.compared += chunk.min(file.size - at);
    }
    (out.size, out.stored) = (file.size, file.store.stored());
    Ok(out)
}
