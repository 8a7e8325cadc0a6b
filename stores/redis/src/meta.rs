//! The language of memcached: its meta commands (1.6 and later), with keys in base64, so that they may hold any byte.

use crate::wire::{Answer, Garbage, Head, Out, line};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Bytes of a key: memcached takes 250 after base64.
pub const LONGEST_KEY: usize = 186;

fn key(out: &mut Out<'_>, verb: &[u8], key: &[u8]) {
    // Keys are short: checked before.
    let mut text = [0u8; 256];
    let len = STANDARD.encode_slice(key, &mut text).unwrap_or(0);
    out.copy(verb);
    out.copy(b" ");
    out.copy(&text[..len]);
}

/// Asks for an object's bytes.
pub fn get(out: &mut Out<'_>, name: &[u8]) {
    key(out, b"mg", name);
    out.copy(b" b v\r\n");
}

/// Asks for an object's length and tag.
pub fn head_of(out: &mut Out<'_>, name: &[u8]) {
    key(out, b"mg", name);
    out.copy(b" b s c\r\n");
}

/// Stores an object; asks for its tag.
pub fn set<'a>(out: &mut Out<'a>, name: &[u8], bytes: &'a [u8], absent: bool, tag: Option<u64>) {
    key(out, b"ms", name);
    out.copy(b" ");
    out.number(bytes.len() as u64);
    out.copy(b" b c");
    if absent {
        out.copy(b" ME");
    }
    if let Some(tag) = tag {
        out.copy(b" C");
        out.number(tag);
    }
    out.copy(b"\r\n");
    out.give(bytes);
    out.copy(b"\r\n");
}

/// Removes an object.
pub fn delete(out: &mut Out<'_>, name: &[u8]) {
    key(out, b"md", name);
    out.copy(b" b\r\n");
}

/// Asks whether the server is there.
pub fn version(out: &mut Out<'_>) {
    out.copy(b"version\r\n");
}

/// Reads the beginning of an answer. `Text` is its line, `Nil` a miss.
pub fn head(bytes: &[u8]) -> Result<Head, Garbage> {
    let Some((text, used)) = line(bytes, 2048)? else { return Ok(Head::Partial) };
    let answer = match text.split(|b| *b == b' ').next().unwrap_or_default() {
        b"VA" => {
            let len = text[2..]
                .split(|b| *b == b' ')
                .nth(1)
                .and_then(|n| std::str::from_utf8(n).ok()?.parse().ok());
            return len
                .map(|n| Head::Body(n, used))
                .ok_or_else(|| Garbage::at("a value without a length", text));
        }
        b"HD" | b"NS" | b"EX" | b"VERSION" => Answer::Text(text.to_vec()),
        b"EN" | b"NF" => Answer::Nil,
        b"ERROR" | b"CLIENT_ERROR" | b"SERVER_ERROR" => {
            Answer::Error(String::from_utf8_lossy(text).into_owned())
        }
        _ => return Err(Garbage::at("not an answer of memcached", text)),
    };
    Ok(Head::Whole(answer, used))
}

/// The number behind a flag of an answer's line, as 12 in "HD s12".
pub fn flag(line: &[u8], flag: u8) -> Option<u64> {
    let mut words = line.split(|b| *b == b' ').skip(1);
    words.find(|w| w.first() == Some(&flag)).and_then(|w| std::str::from_utf8(&w[1..]).ok()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        assert!(matches!(head(b"VA 5 s5\r\nhe"), Ok(Head::Body(5, 9))));
        assert!(matches!(head(b"EN\r\n"), Ok(Head::Whole(Answer::Nil, 4))));
        assert!(matches!(head(b"HD s1"), Ok(Head::Partial)));
        assert!(head(b"+OK\r\n").is_err() && head(b"VA x\r\n").is_err());
        let Ok(Head::Whole(Answer::Text(text), _)) = head(b"HD s12 c7\r\n") else { panic!("not a line") };
        assert_eq!((flag(&text, b's'), flag(&text, b'c'), flag(&text, b'x')), (Some(12), Some(7), None));
    }

    #[test]
    fn the_longest_key_fits() {
        assert!(STANDARD.encode([7u8; LONGEST_KEY]).len() <= 250);
        assert!(STANDARD.encode([7u8; LONGEST_KEY + 1]).len() > 250);
    }
}
