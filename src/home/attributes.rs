//! Modes and times of files as the small text that an object carries. Owns the names of these attributes: those that
//! s3fs writes (`mode`, `uid`, `gid`, `mtime`: decimal, times in seconds with a fraction), so that both can read each
//! other's files.

use rustix::fs::Stat;

/// What is kept with a file's object.
pub fn to_meta(st: &Stat) -> Vec<(String, String)> {
    vec![
        ("mode".into(), st.st_mode.to_string()),
        ("uid".into(), st.st_uid.to_string()),
        ("gid".into(), st.st_gid.to_string()),
        ("mtime".into(), format!("{}.{:09}", st.st_mtime, st.st_mtime_nsec)),
    ]
}

/// What an object tells of the file that it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Type and permissions.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Time of modification in nanoseconds since 1970.
    pub mtime_ns: Option<u64>,
}

/// Reads what [`to_meta`], s3fs or rclone wrote. Text that makes no sense is as if it were not there.
pub fn from_meta(meta: &[(String, String)]) -> Attributes {
    let find = |name: &str| meta.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str());
    Attributes {
        mode: find("mode").and_then(|v| v.parse().ok()),
        uid: find("uid").and_then(|v| v.parse().ok()),
        gid: find("gid").and_then(|v| v.parse().ok()),
        mtime_ns: find("mtime").and_then(seconds),
    }
}

/// Nanoseconds of a decimal number of seconds.
fn seconds(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nine: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    whole.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(nine.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_attributes_are_understood() {
        let meta = |m: &str| vec![("mtime".to_owned(), m.to_owned()), ("mode".into(), "33188".into())];
        assert_eq!(from_meta(&meta("1700000000.5")).mtime_ns, Some(1_700_000_000_500_000_000));
        assert_eq!(from_meta(&meta("1700000000")).mode, Some(0o100_644));
        assert_eq!(from_meta(&meta("yesterday")).mtime_ns, None);
        assert_eq!(from_meta(&meta("1.-5")).mtime_ns, None);
    }
}
