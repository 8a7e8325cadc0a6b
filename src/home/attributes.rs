//! What a file is beside its bytes, as the small text that an object carries. Owns the names of these attributes: those
//! that s3fs writes (`mode`, `uid`, `gid`, `mtime`: decimal, times in seconds with a fraction), so that both can read each
//! other's files, and Iris's own for what those have no name for.

use super::mirror;
use rustix::fs::Stat;

/// Names of attributes that [`to_meta`] writes.
const WRITTEN: [&str; 6] = ["mode", "uid", "gid", "mtime", XATTRS, BY];
/// Extended attributes of `user.`, as [`super::xattrs`] writes them, in hexadecimal.
const XATTRS: &str = "iris-xattr";
/// The identity of the anchor that the object was sent from: its own put is known by it after a crash.
const BY: &str = "iris-by";
/// Bytes of extended attributes that an object's text has room for: S3 takes 2 KB of it.
pub const MOST_XATTRS: usize = 640;

/// What is kept with a file's object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Type and permissions.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Time of modification in nanoseconds since 1970.
    pub mtime_ns: Option<u64>,
    /// Extended attributes, as [`super::xattrs`] writes them.
    pub xattrs: Vec<u8>,
    /// The anchor that it was sent from.
    pub by: Option<[u64; 2]>,
}

impl Attributes {
    /// Those of an anchor.
    pub fn of(st: &Stat, xattrs: Vec<u8>, by: Option<[u64; 2]>) -> Attributes {
        Attributes {
            mode: Some(st.st_mode),
            uid: Some(st.st_uid),
            gid: Some(st.st_gid),
            mtime_ns: Some(mirror::mtime_of(st)),
            xattrs,
            by,
        }
    }

    /// As text. Extended attributes that there is no room for are left out.
    pub fn to_meta(&self) -> Vec<(String, String)> {
        let mut meta = Vec::new();
        let mut add = |name: &str, value: Option<String>| meta.extend(value.map(|v| (name.to_owned(), v)));
        add("mode", self.mode.map(|m| m.to_string()));
        add("uid", self.uid.map(|u| u.to_string()));
        add("gid", self.gid.map(|g| g.to_string()));
        add("mtime", self.mtime_ns.map(text_of));
        let fits = !self.xattrs.is_empty() && self.xattrs.len() <= MOST_XATTRS;
        add(XATTRS, fits.then(|| self.xattrs.iter().map(|b| format!("{b:02x}")).collect()));
        add(BY, self.by.map(|id| format!("{:016x}{:016x}", id[0], id[1])));
        meta
    }

    /// The text that an object has, with these in the place of what it says of them.
    pub fn over(&self, meta: &[(String, String)]) -> Vec<(String, String)> {
        let others = meta.iter().filter(|(n, _)| !WRITTEN.contains(&n.as_str())).cloned();
        others.chain(self.to_meta()).collect()
    }

    /// Reads what [`Attributes::to_meta`], s3fs or rclone wrote. Text that makes no sense is as if it were not there.
    pub fn from_meta(meta: &[(String, String)]) -> Attributes {
        let find =
            |name: &str| meta.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str());
        Attributes {
            mode: find("mode").and_then(mode_of),
            uid: find("uid").and_then(|v| v.parse().ok()),
            gid: find("gid").and_then(|v| v.parse().ok()),
            mtime_ns: find("mtime").and_then(seconds),
            xattrs: find(XATTRS).and_then(bytes_of).unwrap_or_default(),
            by: find(BY).and_then(|v| mirror::id_from(v.as_bytes())),
        }
    }
}

/// s3fs writes type and permissions in decimal, rclone in octal, which with a type is more than any mode in decimal.
fn mode_of(text: &str) -> Option<u32> {
    let most = libc::S_IFMT | 0o7777;
    match text.parse::<u32>().ok()? {
        mode if mode <= most && !(text.len() > 1 && text.starts_with('0')) => Some(mode),
        _ => u32::from_str_radix(text, 8).ok().filter(|m| *m <= most),
    }
}

/// Nanoseconds since 1970 (before it: two's complement) as a decimal number of seconds.
fn text_of(ns: u64) -> String {
    let ns = ns as i64;
    format!("{}.{:09}", ns.div_euclid(1_000_000_000), ns.rem_euclid(1_000_000_000))
}

/// Nanoseconds of a decimal number of seconds; a fraction counts up also before 1970, as in the kernel's own times.
fn seconds(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nine: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let whole = whole.parse::<i64>().ok()?.checked_mul(1_000_000_000)?;
    Some(whole.checked_add(nine.parse().ok()?)? as u64)
}

fn bytes_of(hexadecimal: &str) -> Option<Vec<u8>> {
    let digits = hexadecimal.as_bytes();
    let byte = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok();
    if digits.len() % 2 == 1 { None } else { digits.chunks(2).map(byte).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn others_attributes_are_understood() {
        let from = |m: &str| Attributes::from_meta(&meta(&[("mtime", m), ("Mode", "33188")]));
        assert_eq!(from("1700000000.5").mtime_ns, Some(1_700_000_000_500_000_000));
        assert_eq!(from("1700000000").mode, Some(0o100_644));
        assert_eq!(from("yesterday").mtime_ns, None);
        assert_eq!(from("1.-5").mtime_ns, None);
        let mode = |m: &str| Attributes::from_meta(&meta(&[("mode", m)])).mode;
        assert_eq!([mode("100644"), mode("0644"), mode("420")], [Some(0o100_644), Some(0o644), Some(0o644)]);
        assert_eq!([mode("9999999"), mode("rw"), mode("0")], [None, None, Some(0)]);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let all = Attributes {
            mode: Some(0o120_777),
            uid: Some(0),
            gid: Some(7),
            mtime_ns: Some((-4_500_000_000_i64) as u64),
            xattrs: b"user.a\0\x01\0\0\0x".to_vec(),
            by: Some([1, u64::MAX]),
        };
        assert_eq!(Attributes::from_meta(&all.to_meta()), all);
        let long = Attributes { xattrs: vec![7; MOST_XATTRS + 1], ..Attributes::default() };
        assert_eq!(long.to_meta(), []);
        let kept = all.over(&meta(&[("mode", "1"), ("theirs", "x")]));
        assert_eq!((kept[0].0.as_str(), kept.len()), ("theirs", 7));
    }
}
