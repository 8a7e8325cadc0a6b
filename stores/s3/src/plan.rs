//! How an object of given parts becomes an upload of parts that S3 takes: each of 5 MiB to 5 GiB but the last, 10,000 at
//! most; ranges of objects that are long enough copied by the server, others read and sent again. Pure.

use crate::options::LEAST_PART;

/// How many parts an upload may have, with a margin.
const MOST_PARTS: u64 = 9_900;
/// Bytes that one request has the server copy at most: it answers when it is done, so it must not take long.
const MOST_COPY: u64 = 256 << 20;

/// A range of one of the given parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which part.
    pub part: usize,
    /// Where in it, in bytes.
    pub offset: u64,
    /// How many bytes.
    pub len: u64,
}

/// A part of the upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upload {
    /// Bytes put together from pieces.
    Send(Vec<Piece>),
    /// A range that the server copies.
    Copy(Piece),
}

/// A part as it is given: its length, and whether it is a range of an object that the server has.
#[derive(Clone, Copy, Debug)]
pub struct Given {
    /// Bytes.
    pub len: u64,
    /// Whether the server has them.
    pub existing: bool,
}

/// Plans the upload.
pub fn plan(given: &[Given], part_size: u64) -> Vec<Upload> {
    let total: u64 = given.iter().map(|g| g.len).sum();
    // Copies may end a part early, each at most one; long objects need long parts.
    let room = MOST_PARTS.saturating_sub(2 * given.iter().filter(|g| g.existing).count() as u64).max(1_000);
    let part_size = part_size.max(total.div_ceil(room)).max(LEAST_PART);
    let most_copy = MOST_COPY.max(part_size);
    let mut plan = Plan { uploads: Vec::new(), open: Vec::new(), held: 0, part_size };
    for (part, given) in given.iter().enumerate() {
        let mut piece = Piece { part, offset: 0, len: given.len };
        if given.existing {
            // What is begun must be long enough before a copy may follow.
            let short = if plan.held == 0 { 0 } else { LEAST_PART.saturating_sub(plan.held) };
            if piece.len >= short + LEAST_PART {
                plan.send(piece.split(short));
                plan.close();
                let copies = piece.len.div_ceil(most_copy);
                for left in (1..=copies).rev() {
                    let len = piece.len.div_ceil(left);
                    plan.uploads.push(Upload::Copy(piece.split(len)));
                }
                continue;
            }
        }
        plan.send(piece);
    }
    plan.close();
    plan.uploads
}

impl Piece {
    /// Takes the first bytes off.
    fn split(&mut self, len: u64) -> Piece {
        let first = Piece { len, ..*self };
        self.offset += len;
        self.len -= len;
        first
    }
}

struct Plan {
    uploads: Vec<Upload>,
    open: Vec<Piece>,
    /// Bytes of `open`.
    held: u64,
    part_size: u64,
}

impl Plan {
    fn send(&mut self, mut piece: Piece) {
        while piece.len > 0 {
            let first = piece.split(piece.len.min(self.part_size - self.held));
            self.open.push(first);
            self.held += first.len;
            if self.held == self.part_size {
                self.close();
            }
        }
    }

    fn close(&mut self) {
        if self.held > 0 {
            self.uploads.push(Upload::Send(std::mem::take(&mut self.open)));
            self.held = 0;
        }
    }
}

/// Bytes of a part of the upload.
pub fn len(upload: &Upload) -> u64 {
    match upload {
        Upload::Send(pieces) => pieces.iter().map(|p| p.len).sum(),
        Upload::Copy(piece) => piece.len,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn check(given: &[Given], part_size: u64) -> Vec<Upload> {
        let uploads = plan(given, part_size);
        assert!(uploads.len() <= 10_000, "{} parts", uploads.len());
        // The pieces in their order are the parts from end to end.
        let mut at = vec![0; given.len()];
        let mut last = 0;
        for (i, upload) in uploads.iter().enumerate() {
            assert!(i + 1 == uploads.len() || len(upload) >= LEAST_PART, "part {i} of {uploads:?}");
            assert!(len(upload) > 0 && len(upload) <= 5 << 30, "part {i} of {uploads:?}");
            let pieces = match upload {
                Upload::Send(pieces) => pieces.clone(),
                Upload::Copy(piece) => {
                    assert!(given[piece.part].existing && piece.len >= LEAST_PART);
                    vec![*piece]
                }
            };
            for piece in pieces {
                assert!(piece.part >= last && piece.offset == at[piece.part] && piece.len > 0, "{uploads:?}");
                last = piece.part;
                at[piece.part] += piece.len;
            }
        }
        assert!(at.iter().zip(given).all(|(at, given)| *at == given.len), "{uploads:?}");
        uploads
    }

    #[test]
    fn long_ranges_are_copied_and_short_ones_sent() {
        let new = |len| Given { len, existing: false };
        let old = |len| Given { len, existing: true };
        assert_eq!(check(&[], 8 * MIB), []);
        let sent = |uploads: &[Upload]| -> u64 {
            uploads.iter().map(|u| if matches!(u, Upload::Send(_)) { len(u) } else { 0 }).sum()
        };
        assert_eq!(sent(&check(&[old(100 * MIB)], 8 * MIB)), 0);
        assert_eq!(sent(&check(&[old(4 * MIB)], 8 * MIB)), 4 * MIB);
        // A change in the middle of a long object costs what S3 demands, and no more.
        assert_eq!(sent(&check(&[old(1 << 30), new(100), old(1 << 30)], 8 * MIB)), 5 * MIB);
        assert_eq!(sent(&check(&[new(6 * MIB), old(1 << 30)], 8 * MIB)), 6 * MIB);
        // An object of 5 TiB.
        check(&[new(5 << 40)], 8 * MIB);
        check(&[old(5 << 40)], 8 * MIB);
    }

    proptest! {
        #[test]
        fn plans_are_whole_and_lawful(
            parts in prop::collection::vec((prop_oneof![0..200u64, 4 * MIB..6 * MIB, 0..600 * MIB], any::<bool>()), 0..12),
            part_size in 5 * MIB..64 * MIB,
        ) {
            let given: Vec<Given> = parts.iter().map(|&(len, existing)| Given { len, existing }).collect();
            check(&given, part_size);
        }
    }
}
