//! The table of every key: its name in the TOML file, its variable, its default and what it means. Owns the
//! names and the search for the nearest one; may not parse values.

/// Which setting a key names; as a number, its index in [`KEYS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Id {
    /// `threshold`
    Threshold,
    /// `consistency`
    Consistency,
    /// `settle`
    Settle,
    /// `mapper`
    Mapper,
    /// `store`
    Store,
    /// `spill`
    Spill,
    /// `tier0.path`
    Tier0Path,
    /// `tier0.memory`
    Tier0Memory,
    /// `tier0.storage_path`
    Tier0StoragePath,
    /// `tier0.storage`
    Tier0Storage,
    /// `tier0.anchors`
    Tier0Anchors,
    /// `tier0.flush_after_ms`
    Tier0FlushAfterMs,
    /// `tier0.warm_up`
    Tier0WarmUp,
    /// `report`
    Report,
    /// `log`
    Log,
}

/// One key of the configuration.
#[derive(Debug)]
pub struct Key {
    /// The setting.
    pub id: Id,
    /// Name in the file, with its table: `tier0.memory`.
    pub name: &'static str,
    /// Name of the variable: `IRIS_TIER0_MEMORY`.
    pub variable: &'static str,
    /// The default, as it would be written in the file; empty when there is none.
    pub default: &'static str,
    /// What a value looks like.
    pub values: &'static str,
    /// What it does, one or two sentences.
    pub meaning: &'static str,
}

impl Key {
    /// Whether the key may also stand in a `[mount."…"]` table and behind a directory in `IRIS_MOUNT`.
    pub fn is_per_mount(&self) -> bool {
        matches!(self.id, Id::Threshold | Id::Consistency | Id::Settle | Id::Mapper | Id::Store | Id::Spill)
    }
}

/// Every key, in the order in which `iris config` shows them.
pub static KEYS: [Key; 15] = [
    Key {
        id: Id::Threshold,
        name: "threshold",
        variable: "IRIS_THRESHOLD",
        default: "64KiB",
        values: "a size or auto",
        meaning: "Writes shorter than this are staged in Tier 0; longer ones go straight to the file. 0 stages \
                  nothing; auto finds out what each size costs either way, and takes the cheaper one.",
    },
    Key {
        id: Id::Consistency,
        name: "consistency",
        variable: "IRIS_CONSISTENCY",
        default: "posix",
        values: "posix, session or relaxed",
        meaning: "posix: a write that returned is seen by every later read on the node. session: changes are \
                  published at fsync and close and picked up at open. relaxed: as session, with only the metadata \
                  that mapping needs.",
    },
    Key {
        id: Id::Settle,
        name: "settle",
        variable: "IRIS_SETTLE",
        default: "close",
        values: "close, background or drain",
        meaning: "When the directory holds the whole file. close: when a writer's close returns. background: some \
                  time after it. drain: at `iris drain`.",
    },
    Key {
        id: Id::Mapper,
        name: "mapper",
        variable: "IRIS_MAPPER",
        default: "balanced:bucket=1MiB",
        values: "a mapper and its options",
        meaning: "Which objects the files become that are made in a mount whose home is kv: or redis:. naive, \
                  balanced, write-optimized, read-optimized, auto, or one of IRIS_MAPPER_PATH; each file keeps its own.",
    },
    Key {
        id: Id::Store,
        name: "store",
        variable: "IRIS_STORE",
        default: "",
        values: "kv:DIR, redis://… or s3://…",
        meaning: "A store beside a mount that is a directory: what Tier 0 has no room for goes there first, and from \
                  there to the directory when the file settles.",
    },
    Key {
        id: Id::Spill,
        name: "spill",
        variable: "IRIS_SPILL",
        default: "auto",
        values: "auto or always",
        meaning: "Where `store` is set: what leaves Tier 0 before its file settles. auto: short extents, where the \
                  store was measured to take them faster than the directory. always: everything.",
    },
    Key {
        id: Id::Tier0Path,
        name: "tier0.path",
        variable: "IRIS_TIER0_PATH",
        default: "",
        values: "a directory",
        meaning: "Folder of the pool of staged bytes, best on a file system in memory. Without it: /dev/shm, then \
                  $XDG_RUNTIME_DIR, then the temporary directory.",
    },
    Key {
        id: Id::Tier0Memory,
        name: "tier0.memory",
        variable: "IRIS_TIER0_MEMORY",
        default: "64MiB",
        values: "a size",
        meaning: "Bytes that the pool may hold in memory, for all processes of the user on the node together.",
    },
    Key {
        id: Id::Tier0StoragePath,
        name: "tier0.storage_path",
        variable: "IRIS_TIER0_STORAGE_PATH",
        default: "",
        values: "a directory",
        meaning: "Folder on a local disk that takes staged bytes once the memory is full, needed when tier0.storage \
                  is not 0, and the anchors of homes that are addresses (without it: /var/tmp).",
    },
    Key {
        id: Id::Tier0Storage,
        name: "tier0.storage",
        variable: "IRIS_TIER0_STORAGE",
        default: "0",
        values: "a size",
        meaning: "Bytes that the pool may hold in tier0.storage_path. 0 uses no disk.",
    },
    Key {
        id: Id::Tier0Anchors,
        name: "tier0.anchors",
        variable: "IRIS_TIER0_ANCHORS",
        default: "4GiB",
        values: "a size",
        meaning: "Bytes that the anchors of a home on a store may hold of what the store has too. What is over it \
                  goes, that of the file in use first, and is fetched again when it is read.",
    },
    Key {
        id: Id::Tier0FlushAfterMs,
        name: "tier0.flush_after_ms",
        variable: "IRIS_TIER0_FLUSH_AFTER_MS",
        default: "1000",
        values: "milliseconds, 1 to 86400000",
        meaning: "Staged bytes of a file that stays open are flushed to it after this long.",
    },
    Key {
        id: Id::Tier0WarmUp,
        name: "tier0.warm_up",
        variable: "IRIS_TIER0_WARM_UP",
        default: "2",
        values: "a number of writes, 0 to 1000000",
        meaning: "This many small writes of an open file go straight to it before staging begins: a file that \
                  gets a write or two is not worth the effort.",
    },
    Key {
        id: Id::Report,
        name: "report",
        variable: "IRIS_REPORT",
        default: "",
        values: "a file",
        meaning: "Each process appends to this file what it intercepted, staged and bypassed, and why.",
    },
    Key {
        id: Id::Log,
        name: "log",
        variable: "IRIS_LOG",
        default: "off",
        values: "off, error, warn, info or debug (or 0 to 4)",
        meaning: "How much is written to standard error.",
    },
];

/// The directories to accelerate, and the options of each.
pub const MOUNT: &str = "IRIS_MOUNT";
/// The TOML file.
pub const CONFIG: &str = "IRIS_CONFIG";
/// Switches Iris off.
pub const DISABLE: &str = "IRIS_DISABLE";
/// Where the command `iris` finds libiris.so.
pub const LIBRARY: &str = "IRIS_LIBRARY";
/// Where mappers of third parties are.
pub const MAPPER_PATH: &str = crate::mapper_plugins::VARIABLE;

/// Where the libraries of stores are.
pub const STORES: &str = crate::stores::FOLDER;

/// The variables that are no key of the file.
pub static VARIABLES: [(&str, &str); 6] = [
    (MOUNT, "The directories to accelerate: DIR[,key=value…][:DIR2…]."),
    (CONFIG, "The TOML file."),
    (DISABLE, "1 switches Iris off: nothing is mounted and nothing else is read."),
    (LIBRARY, "Where `iris run` finds libiris.so."),
    (MAPPER_PATH, "Shared libraries with mappers of third parties, and folders of them: PATH[:PATH2…]."),
    (STORES, "The folder of the stores' libraries; unset: beside libiris.so, or ../lib of the command."),
];

/// The key with this name in the file.
pub fn by_name(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|k| k.name == name)
}

/// The key with this variable.
pub fn by_variable(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|k| k.variable == name)
}

/// Number of single-character insertions, deletions, replacements and swaps of neighbours between two words,
/// taking upper for lower case and `-` for `_`.
pub fn distance(a: &str, b: &str) -> usize {
    let fold = |s: &str| -> Vec<char> {
        s.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
    };
    let (a, b) = (fold(a), fold(b));
    let width = b.len() + 1;
    // Rows i-2, i-1 and i of the usual table: a swap looks two rows back.
    let mut before: Vec<usize> = vec![0; width];
    let mut last: Vec<usize> = (0..width).collect();
    let mut row = vec![0; width];
    for i in 1..=a.len() {
        row[0] = i;
        for j in 1..width {
            let same = a[i - 1] == b[j - 1];
            let mut best = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + usize::from(!same));
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row[j] = best;
        }
        std::mem::swap(&mut before, &mut last);
        std::mem::swap(&mut last, &mut row);
    }
    last[b.len()]
}

/// The candidate nearest to `word`, if one is near enough to be what was meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|c| (distance(word, c), c))
        .min_by_key(|(d, _)| *d)
        .filter(|(d, c)| *d <= (c.len().max(word.len()) / 3).max(2))
        .map(|(_, c)| c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_table_is_in_the_order_of_the_ids() {
        for (i, key) in KEYS.iter().enumerate() {
            assert_eq!(key.id as usize, i, "{}", key.name);
        }
    }

    #[test]
    fn a_variable_is_the_name_in_capitals() {
        for key in &KEYS {
            assert_eq!(key.variable, format!("IRIS_{}", key.name.replace('.', "_").to_uppercase()));
        }
    }

    #[test]
    fn distances() {
        assert_eq!(distance("threshold", "treshold"), 1);
        assert_eq!(distance("memory", "memroy"), 1);
        assert_eq!(distance("flush-after-ms", "FLUSH_AFTER_MS"), 0);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(nearest("treshold", KEYS.iter().map(|k| k.name)), Some("threshold"));
        assert_eq!(nearest("colour", KEYS.iter().map(|k| k.name)), None);
    }

    proptest! {
        #[test]
        fn distance_is_symmetric_and_zero_only_for_itself(a in "[a-z_]{0,12}", b in "[a-z_]{0,12}") {
            prop_assert_eq!(distance(&a, &b), distance(&b, &a));
            prop_assert_eq!(distance(&a, &b) == 0, a == b);
            prop_assert!(distance(&a, &b) <= a.len().max(b.len()));
        }

        #[test]
        fn one_wrong_letter_finds_the_key(which in 0..KEYS.len(), at in 0usize..32, letter in b'a'..=b'z') {
            let name = KEYS[which].name;
            let mut wrong = name.as_bytes().to_vec();
            let at = at % wrong.len();
            wrong[at] = letter;
            let wrong = String::from_utf8(wrong).unwrap();
            let found = nearest(&wrong, KEYS.iter().map(|k| k.name));
            // Another key may be as near ("log" is three letters), but never a farther one.
            prop_assert!(distance(&wrong, found.unwrap()) <= 1);
        }
    }
}
