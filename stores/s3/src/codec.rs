//! The text forms that S3 wants: keys, the listing's escapes, user metadata, entity tags, checksums. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, utf8_percent_encode};
use std::borrow::Cow;

/// Metadata that carries the CRC-64/NVME of an object put as a whole, in base64: servers that keep no checksums keep
/// this, so that a whole object that is read can be held against it.
pub const META_CRC: &str = "iris-crc64nvme";
/// Metadata that tells one put from all others, so that a put whose answer got lost is recognised as done.
pub const META_PUT: &str = "iris-put";

/// Why a text cannot be (a part of) a key, if it cannot.
pub fn storable(key: &str) -> Result<(), &'static str> {
    if key.chars().any(char::is_control) {
        return Err("it holds control characters, which XML answers of S3 servers cannot carry");
    }
    Ok(())
}

/// The key as S3 wants it.
pub fn key(prefix: &str, key: &[u8]) -> Result<String, &'static str> {
    if key.is_empty() {
        return Err("the key is empty");
    }
    let text = std::str::from_utf8(key).map_err(|_| "the key is not UTF-8, and S3 takes no other")?;
    storable(text)?;
    Ok(format!("{prefix}{text}"))
}

/// A key of a listing with `encoding-type=url`.
pub fn listed(key: &str) -> Vec<u8> {
    // AWS writes '+' for a space (and %2B for a plus), others %20.
    let spaced: Cow<'_, str> = if key.contains('+') { key.replace('+', " ").into() } else { key.into() };
    percent_decode(spaced.as_bytes()).collect()
}

/// What a value of metadata cannot hold as it is: headers are visible ASCII, and lose the spaces at their ends.
const VALUE: &AsciiSet = &CONTROLS.add(b'%');

/// User metadata as headers: names in lower case, values percent-encoded where they are not plain.
pub fn meta(meta: &[(String, String)]) -> Result<Vec<(String, String)>, String> {
    meta.iter()
        .map(|(name, value)| {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            if name.is_empty() || !name.bytes().all(plain) || name == META_CRC || name == META_PUT {
                return Err(format!(
                    "metadata \"{name}\": names are lower-case letters, digits and '-', and not Iris's own"
                ));
            }
            let mut value = utf8_percent_encode(value, VALUE).to_string();
            if let Some(rest) = value.strip_prefix(' ') {
                value = format!("%20{rest}");
            }
            if let Some(rest) = value.strip_suffix(' ') {
                value = format!("{rest}%20");
            }
            Ok((name.clone(), value))
        })
        .collect()
}

/// User metadata of an answer, in the order of their names, without Iris's own.
pub fn meta_back<'a>(meta: impl Iterator<Item = (&'a String, &'a String)>) -> Vec<(String, String)> {
    let mut kept: Vec<(String, String)> = meta
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .filter(|(name, _)| name != META_CRC && name != META_PUT)
        .map(|(name, value)| (name, percent_decode(value.as_bytes()).decode_utf8_lossy().into_owned()))
        .collect();
    kept.sort();
    kept
}

/// An entity tag as it is compared: without quotes. An empty one (RGW answers so) is none.
pub fn tag(etag: Option<&str>) -> Option<String> {
    etag.map(|t| t.trim_matches('"').to_owned()).filter(|t| !t.is_empty())
}

/// An entity tag as HTTP has it.
pub fn quoted(tag: &str) -> String {
    format!("\"{tag}\"")
}

/// A checksum that grows with the bytes of a body, and what it should become.
pub struct Check {
    digest: crc_fast::Digest,
    wide: bool,
    expected: String,
}

impl Check {
    /// The check that an answer's headers make possible.
    pub fn new(
        crc64: Option<&str>,
        crc32c: Option<&str>,
        crc32: Option<&str>,
        own: Option<&str>,
    ) -> Option<Check> {
        let with = |algorithm, wide, expected: &str| {
            // "…-7" is a checksum of the parts' checksums, which the bytes alone do not give; and what has another
            // length is no such checksum (moto calls a CRC-32 so).
            let expected = Some(expected)
                .filter(|e| e.len() == if wide { 12 } else { 8 } && !e.contains('-'))?
                .to_owned();
            Some(Check { digest: crc_fast::Digest::new(algorithm), wide, expected })
        };
        crc64
            .and_then(|e| with(CrcAlgorithm::Crc64Nvme, true, e))
            .or_else(|| crc32c.and_then(|e| with(CrcAlgorithm::Crc32Iscsi, false, e)))
            .or_else(|| crc32.and_then(|e| with(CrcAlgorithm::Crc32IsoHdlc, false, e)))
            .or_else(|| own.and_then(|e| with(CrcAlgorithm::Crc64Nvme, true, e)))
    }

    /// More bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
    }

    /// Whether these were the bytes.
    pub fn holds(&self) -> bool {
        encoded(self.digest.finalize(), self.wide) == self.expected
    }
}

fn encoded(value: u64, wide: bool) -> String {
    let bytes = value.to_be_bytes();
    STANDARD.encode(if wide { &bytes[..] } else { &bytes[4..] })
}

/// The checksum of bytes as a header has it.
pub fn crc64nvme(bytes: &[u8]) -> String {
    encoded(crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes), true)
}

/// The checksum of bytes as a header has it.
pub fn crc32(bytes: &[u8]) -> String {
    encoded(crc_fast::checksum(CrcAlgorithm::Crc32IsoHdlc, bytes), false)
}

/// The checksum of bytes as a header has it.
pub fn crc32c(bytes: &[u8]) -> String {
    encoded(crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes), false)
}

/// The digest of bytes as Content-MD5 has it.
pub fn md5(bytes: &[u8]) -> String {
    use md5::Digest;
    STANDARD.encode(md5::Md5::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_text() {
        assert_eq!(key("p/", "ä b".as_bytes()).unwrap(), "p/ä b");
        assert!(key("p/", b"").is_err() && key("", b"\xff").is_err() && key("", b"a\nb").is_err());
        assert_eq!(listed("a+b%2Bc%2F%C3%A4"), "a b+c/ä".as_bytes());
    }

    #[test]
    fn metadata_comes_back_as_it_was() {
        let given: Vec<(String, String)> =
            [("a", " ä%\n"), ("b-1", "x y "), ("c", "")].map(|(n, v)| (n.to_owned(), v.to_owned())).into();
        let sent = meta(&given).unwrap();
        assert!(sent.iter().all(|(_, v)| v.is_ascii() && v.trim() == v && !v.contains('\n')), "{sent:?}");
        let mut back: Vec<_> = sent;
        back.push((META_PUT.to_owned(), "x".to_owned()));
        assert_eq!(meta_back(back.iter().map(|(n, v)| (n, v))), given);
        assert!(
            meta(&[("A".into(), "x".into())]).is_err() && meta(&[(META_CRC.into(), "x".into())]).is_err()
        );
    }

    #[test]
    fn checksums_are_those_of_the_protocol() {
        // The check values of the catalogue of CRCs, over "123456789".
        let text = b"123456789";
        assert_eq!(crc64nvme(text), STANDARD.encode(0xae8b_1486_0a79_9888_u64.to_be_bytes()));
        assert_eq!(crc32(text), STANDARD.encode(0xcbf4_3926_u32.to_be_bytes()));
        assert_eq!(crc32c(text), STANDARD.encode(0xe306_9283_u32.to_be_bytes()));
        let mut check = Check::new(None, None, Some("y/Q5Jg=="), None).unwrap();
        check.update(&text[..4]);
        check.update(&text[4..]);
        assert!(check.holds());
        check.update(b"x");
        assert!(!check.holds());
        assert!(Check::new(Some("abcdefghij-2"), None, Some("y/Q5Jg=="), None).is_some_and(|c| !c.wide));
        assert!(Check::new(Some("y/Q5Jg=="), None, None, None).is_none());
    }

    #[test]
    fn empty_tags_are_none() {
        assert_eq!(tag(Some("\"\"")), None);
        assert_eq!(tag(Some("\"abc\"")).as_deref(), Some("abc"));
    }
}
