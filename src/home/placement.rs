//! Which objects of a store a file's bytes are. Pure: it names objects and cuts ranges, and does no I/O.

use std::ops::Range;

/// How the files of a home are laid out in its store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Fixed buckets: bucket `i` of file `id` is the object `PREFIX{ID}:i`, and one that is missing is a hole. The
    /// braces keep all objects of a file in one slot of a cluster.
    Buckets {
        /// What every key begins with.
        prefix: Vec<u8>,
        /// Bytes of a bucket, a multiple of the granule.
        size: u64,
    },
    /// One object of the file's own name below `prefix`, which other tools read and write.
    Whole {
        /// What every key begins with.
        prefix: Vec<u8>,
    },
}

/// A part of a file in an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Number of the bucket; 0 in [`Layout::Whole`].
    pub bucket: u64,
    /// Where in the object, in bytes.
    pub at: u64,
    /// Which bytes of the file.
    pub range: Range<u64>,
}

impl Layout {
    /// The pieces of a range of a file, in its order.
    pub fn pieces(&self, range: Range<u64>) -> impl Iterator<Item = Piece> {
        let size = match self {
            Layout::Buckets { size, .. } => *size,
            Layout::Whole { .. } => u64::MAX,
        };
        let mut from = range.start;
        std::iter::from_fn(move || {
            if from >= range.end {
                return None;
            }
            let bucket = from / size;
            let end = range.end.min(bucket.saturating_add(1).saturating_mul(size));
            let piece = Piece { bucket, at: from - bucket * size, range: from..end };
            from = end;
            Some(piece)
        })
    }

    /// The key of a bucket.
    pub fn key(&self, id: [u64; 2], bucket: u64) -> Vec<u8> {
        match self {
            Layout::Buckets { prefix, .. } => {
                let mut key = prefix.clone();
                key.extend_from_slice(format!("{{{:016x}{:016x}}}:{bucket}", id[0], id[1]).as_bytes());
                key
            }
            Layout::Whole { prefix } => prefix.clone(),
        }
    }

    /// The key of the object that the file of a name below the mount is.
    pub fn whole_key(&self, name: &[u8]) -> Vec<u8> {
        let (Layout::Buckets { prefix, .. } | Layout::Whole { prefix }) = self;
        [prefix, name].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_tile_the_range() {
        let layout = Layout::Buckets { prefix: b"iris:".to_vec(), size: 100 };
        let pieces: Vec<_> = layout.pieces(150..420).collect();
        assert_eq!(pieces[0], Piece { bucket: 1, at: 50, range: 150..200 });
        assert_eq!(pieces[3], Piece { bucket: 4, at: 0, range: 400..420 });
        assert_eq!(pieces.len(), 4);
        assert_eq!(layout.pieces(7..7).count(), 0);
        assert_eq!(layout.key([1, 2], 3), b"iris:{00000000000000010000000000000002}:3");
    }
}
