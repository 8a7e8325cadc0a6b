//! One object: which bytes of which containers it consists of.

/// A run of an object's bytes that lies in one *piece*: bytes that were written in one go, at most
/// [`PIECE`](super::PIECE) and not across a multiple of it, with one checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Where in the object, in bytes.
    pub offset: u64,
    /// Where the piece begins in its container, in bytes.
    pub at: u64,
    /// The piece's container.
    pub container: u32,
    /// How many bytes of the object lie here.
    pub len: u32,
    /// How many bytes of the piece come before them.
    pub skip: u32,
    /// Length of the whole piece, over which the checksum goes.
    pub stored: u32,
    /// CRC-32 of the whole piece.
    pub sum: u32,
}

impl Slice {
    fn end(&self) -> u64 {
        self.offset + u64::from(self.len)
    }

    /// Whether two slices show bytes of one piece.
    fn shares(&self, other: &Slice) -> bool {
        self.container == other.container && self.at == other.at
    }
}

/// An object's place: its slices in order, without overlaps; bytes between them are zeros. One slice, the usual
/// case, needs no memory of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Slices {
    #[default]
    None,
    One(Slice),
    Many(Vec<Slice>),
}

impl Slices {
    pub(super) fn of(slices: &[Slice]) -> Slices {
        match slices {
            [] => Slices::None,
            [one] => Slices::One(*one),
            many => Slices::Many(many.to_vec()),
        }
    }

    pub(super) fn as_slice(&self) -> &[Slice] {
        match self {
            Slices::None => &[],
            Slices::One(one) => std::slice::from_ref(one),
            Slices::Many(many) => many,
        }
    }

    /// Tells everything as gone.
    pub(super) fn drop_all(&self, mut gone: impl FnMut(Gone)) {
        let slices = self.as_slice();
        for (i, slice) in slices.iter().enumerate() {
            gone(Gone::Bytes(slice.container, slice.len));
            let window = slice.offset / super::PIECE;
            let near = slices[..i].iter().rev().take_while(|s| s.offset / super::PIECE == window);
            if !near.into_iter().any(|s| s.shares(slice)) {
                gone(Gone::Piece { container: slice.container, at: slice.at, len: slice.stored });
            }
        }
    }

    fn put_back(&mut self, slices: Vec<Slice>) {
        *self = match slices[..] {
            [] => Slices::None,
            [one] => Slices::One(one),
            _ => Slices::Many(slices),
        };
    }

    fn take(&mut self) -> Vec<Slice> {
        match std::mem::take(self) {
            Slices::None => Vec::new(),
            Slices::One(one) => vec![one],
            Slices::Many(many) => many,
        }
    }

    /// Lays new slices over these after cutting them at `len`. `gone` hears of each run of bytes that no longer
    /// counts, and of each piece of which nothing is left.
    pub(super) fn lay(&mut self, len: u64, new: &[Slice], mut gone: impl FnMut(Gone)) {
        let mut slices = self.take();
        let keep = slices.partition_point(|s| s.offset < len);
        if keep < slices.len() || slices.last().is_some_and(|s| s.end() > len) {
            cut(&mut slices, len, u64::MAX, &mut gone);
        }
        for slice in new {
            let at = cut(&mut slices, slice.offset, slice.end(), &mut gone);
            slices.insert(at, *slice);
        }
        self.put_back(slices);
    }
}

/// What no longer counts.
pub(super) enum Gone {
    /// So many bytes that were seen lie in this container.
    Bytes(u32, u32),
    /// Nothing of this piece is seen any more: its place is free.
    Piece { container: u32, at: u64, len: u32 },
}

/// Removes `from..to` from the slices, and tells where something that begins at `from` belongs.
fn cut(slices: &mut Vec<Slice>, from: u64, to: u64, gone: &mut impl FnMut(Gone)) -> usize {
    let first = slices.partition_point(|s| s.end() <= from);
    let last = first + slices[first..].partition_point(|s| s.offset < to);
    if first == last {
        return first;
    }
    let removed: Vec<Slice> = slices[first..last].to_vec();
    let mut kept = Vec::with_capacity(2);
    let head = removed[0];
    if head.offset < from {
        kept.push(Slice { len: (from - head.offset) as u32, ..head });
    }
    let tail = removed[removed.len() - 1];
    if tail.end() > to {
        let skipped = (to - tail.offset) as u32;
        kept.push(Slice { offset: to, len: tail.len - skipped, skip: tail.skip + skipped, ..tail });
    }
    let at = first + usize::from(head.offset < from);
    slices.splice(first..last, kept);
    for slice in &removed {
        let (lo, hi) = (slice.offset.max(from), slice.end().min(to));
        gone(Gone::Bytes(slice.container, (hi - lo) as u32));
    }
    // All slices of a piece lie in its window, so the rest of it is looked for there only.
    let same = |w: u64| move |s: &&Slice| s.offset / super::PIECE == w;
    for (i, slice) in removed.iter().enumerate() {
        let window = slice.offset / super::PIECE;
        let told = removed[..i].iter().rev().take_while(same(window)).any(|s| s.shares(slice));
        let before = slices[..at].iter().rev().take_while(same(window)).any(|s| s.shares(slice));
        let after = slices[at..].iter().take_while(same(window)).any(|s| s.shares(slice));
        if !told && !before && !after {
            gone(Gone::Piece { container: slice.container, at: slice.at, len: slice.stored });
        }
    }
    at
}

/// What a catalogue knows of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Length in bytes.
    pub len: u64,
    /// Changes with the content.
    pub tag: u64,
    /// When it was last changed, in nanoseconds since 1970.
    pub modified: u64,
    /// The event that made it or replaced it as a whole, counted from the catalogue's start.
    pub born: u64,
    /// What the store keeps with it.
    pub meta: Box<[u8]>,
    pub(super) slices: Slices,
}

impl Object {
    /// Where its bytes lie, in order, without overlaps; bytes between are zeros.
    pub fn slices(&self) -> &[Slice] {
        self.slices.as_slice()
    }
}
