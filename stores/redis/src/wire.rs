//! Bytes on their way: what is to be sent, without copying what is long, and what came. Knows no language.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};

/// Up to this many bytes are copied beside the command; more are sent from where they lie.
const COPIED: usize = 512;
/// Pieces handed to the system at a time.
const PIECES: usize = 256;
/// Room for what comes, at first, and the least that is offered to a receive.
const ROOM: usize = 64 << 10;
const LEAST: usize = 8 << 10;

enum Piece<'a> {
    /// So many bytes of the written ones.
    Written(usize),
    Given(&'a [u8]),
}

/// What is to be sent.
#[derive(Default)]
pub struct Out<'a> {
    written: Vec<u8>,
    /// How much of `written` has gone.
    gone: usize,
    pieces: VecDeque<Piece<'a>>,
    /// Bytes that wait.
    pub waiting: usize,
    /// Bytes that were ever put in.
    pub total: u64,
}

impl<'a> Out<'a> {
    /// Puts in a copy.
    pub fn copy(&mut self, bytes: &[u8]) {
        self.written.extend_from_slice(bytes);
        self.count(bytes.len());
        match self.pieces.back_mut() {
            Some(Piece::Written(n)) => *n += bytes.len(),
            _ => self.pieces.push_back(Piece::Written(bytes.len())),
        }
    }

    /// Puts in bytes that stay where they are, if they are long.
    pub fn give(&mut self, bytes: &'a [u8]) {
        if bytes.len() <= COPIED {
            return self.copy(bytes);
        }
        self.count(bytes.len());
        self.pieces.push_back(Piece::Given(bytes));
    }

    /// Puts in a number in decimal.
    pub fn number(&mut self, number: u64) {
        let (mut digits, mut at, mut rest) = ([0u8; 20], 20, number);
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.copy(&digits[at..]);
    }

    fn count(&mut self, len: usize) {
        self.waiting += len;
        self.total += len as u64;
    }

    /// The next pieces, as the system takes them.
    pub fn next(&self) -> Vec<IoSlice<'_>> {
        let mut slices = Vec::with_capacity(self.pieces.len().min(PIECES));
        let mut at = self.gone;
        for piece in self.pieces.iter().take(PIECES) {
            slices.push(IoSlice::new(match piece {
                Piece::Written(n) => {
                    at += n;
                    &self.written[at - n..at]
                }
                Piece::Given(bytes) => bytes,
            }));
        }
        slices
    }

    /// So many bytes have been taken.
    pub fn advance(&mut self, mut taken: usize) {
        self.waiting -= taken;
        while let Some(piece) = self.pieces.front_mut() {
            let len = match piece {
                Piece::Written(n) => *n,
                Piece::Given(bytes) => bytes.len(),
            };
            let step = len.min(taken);
            taken -= step;
            match piece {
                Piece::Written(n) => {
                    self.gone += step;
                    *n -= step;
                }
                Piece::Given(bytes) => *bytes = &bytes[step..],
            }
            if step < len {
                break;
            }
            self.pieces.pop_front();
        }
        if self.pieces.is_empty() {
            self.written.clear();
            self.gone = 0;
        }
    }
}

/// What came and is not understood yet.
#[derive(Default)]
pub struct Input {
    room: Vec<u8>,
    from: usize,
    to: usize,
}

impl Input {
    /// The bytes at hand.
    pub fn bytes(&self) -> &[u8] {
        &self.room[self.from..self.to]
    }

    /// So many of them are done with.
    pub fn consume(&mut self, len: usize) {
        self.from += len;
        debug_assert!(self.from <= self.to);
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
        }
    }

    /// Where the next bytes go: `first`, then room of its own, which grows as long as what is there is not understood,
    /// so that looking at it again and again stays cheap.
    pub fn rooms<'r>(&'r mut self, first: &'r mut [u8]) -> [IoSliceMut<'r>; 2] {
        if self.from > 0 && (self.room.len() - self.to < LEAST || self.to - self.from < LEAST) {
            self.room.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
        }
        if self.room.len() - self.to < LEAST {
            self.room.resize((self.room.len() * 2).max(ROOM), 0);
        }
        [IoSliceMut::new(first), IoSliceMut::new(&mut self.room[self.to..])]
    }

    /// So many bytes came into the room of its own.
    pub fn came(&mut self, len: usize) {
        self.to += len;
    }

    /// Gives back room that one long answer needed.
    pub fn shrink(&mut self) {
        if self.from == self.to && self.room.len() > 4 * ROOM {
            *self = Input::default();
        }
    }
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A word, as OK.
    Text(Vec<u8>),
    Int(i64),
    Nil,
    Bytes(Vec<u8>),
    /// So many bytes went where the request wanted them.
    Filled(usize),
    List(Vec<Answer>),
    /// The server's complaint.
    Error(String),
}

/// The beginning of an answer.
pub enum Head {
    /// More bytes are needed.
    Partial,
    /// The whole answer, and how many bytes it took.
    Whole(Answer, usize),
    /// Bytes follow, that go where the request wants them: their number, and how many bytes said so.
    Body(u64, usize),
    /// Something that nobody asked for, of so many bytes.
    Aside(usize),
}

/// Not the language that is spoken here.
#[derive(Debug, PartialEq)]
pub struct Garbage(pub String);

impl Garbage {
    /// Names what came.
    pub fn at(what: &str, bytes: &[u8]) -> Garbage {
        Garbage(format!("{what}: \"{}\"", bytes[..bytes.len().min(40)].escape_ascii()))
    }
}

/// The first line, without its end, and how many bytes it takes; lines longer than `longest` are none.
pub fn line(bytes: &[u8], longest: usize) -> Result<Option<(&[u8], usize)>, Garbage> {
    match bytes.iter().take(longest + 2).position(|b| *b == b'\n') {
        Some(at) if at > 0 && bytes[at - 1] == b'\r' => Ok(Some((&bytes[..at - 1], at + 1))),
        Some(_) => Err(Garbage::at("a line without its end", bytes)),
        None if bytes.len() > longest => Err(Garbage::at("a line without an end", bytes)),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(out: &Out<'_>) -> Vec<u8> {
        out.next().iter().flat_map(|s| s.to_vec()).collect()
    }

    #[test]
    fn what_is_put_in_goes_out_in_order_whatever_is_taken_at_a_time() {
        let long: Vec<u8> = (0..700u32).map(|i| i as u8).collect();
        for step in [1, 2, 3, 511, 650, 100_000] {
            let (mut out, mut sent, mut all) = (Out::default(), Vec::new(), Vec::new());
            for n in [0, 7, 1234567890, u64::MAX] {
                out.number(n);
                out.give(&long);
                out.copy(b"-");
                out.give(&long[..3]);
                all.extend_from_slice(n.to_string().as_bytes());
                all.extend_from_slice(&long);
                all.extend_from_slice(b"-");
                all.extend_from_slice(&long[..3]);
                let some = joined(&out);
                let n = step.min(some.len());
                sent.extend_from_slice(&some[..n]);
                out.advance(n);
            }
            while out.waiting > 0 {
                let some = joined(&out);
                let n = step.min(some.len());
                sent.extend_from_slice(&some[..n]);
                out.advance(n);
            }
            assert!(sent == all && out.total == all.len() as u64, "steps of {step}");
        }
    }

    #[test]
    fn what_came_is_kept_in_order_while_room_grows() {
        let (mut input, mut next, mut expected) = (Input::default(), 0u32, 0u32);
        for round in 0..400usize {
            let mut none = [];
            let [_, mut room] = input.rooms(&mut none);
            let n = room.len().min(1 + round * 97);
            room[..n].fill_with(|| {
                next += 1;
                (next - 1) as u8
            });
            input.came(n);
            let eat = if round % 10 == 9 { input.bytes().len() } else { input.bytes().len() / 3 };
            for b in &input.bytes()[..eat] {
                assert_eq!(*b, expected as u8);
                expected += 1;
            }
            input.consume(eat);
        }
        assert!(expected > 1_000_000);
    }
}
