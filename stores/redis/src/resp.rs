//! The language of Redis, RESP2 and RESP3: how commands are written and answers read. Owns nothing else; what is wrong
//! in what came is told as [`Garbage`], never guessed at.

use crate::wire::{Answer, Garbage, Head, Out, line};

/// Answers that are no values of objects are shorter than this, lists inside lists are fewer, and so on: what goes
/// beyond is no answer of a server that we asked.
const LONGEST_LINE: usize = 64 << 10;
const LONGEST_BYTES: u64 = 1 << 30;
const DEEPEST: usize = 16;

/// Begins a command of so many words.
pub fn command(out: &mut Out<'_>, words: usize) {
    out.copy(b"*");
    out.number(words as u64);
    out.copy(b"\r\n");
}

/// A word of a command; a long one stays where it is.
pub fn word<'a>(out: &mut Out<'a>, bytes: &'a [u8]) {
    out.copy(b"$");
    out.number(bytes.len() as u64);
    out.copy(b"\r\n");
    out.give(bytes);
    out.copy(b"\r\n");
}

/// A word that is a number.
pub fn number(out: &mut Out<'_>, number: u64) {
    let digits = number.checked_ilog10().unwrap_or(0) + 1;
    out.copy(b"$");
    out.number(digits.into());
    out.copy(b"\r\n");
    out.number(number);
    out.copy(b"\r\n");
}

/// Reads the beginning of an answer; `into`: the request wants the bytes of a string put elsewhere.
pub fn head(bytes: &[u8], into: bool) -> Result<Head, Garbage> {
    match bytes.first() {
        None => return Ok(Head::Partial),
        Some(b'>') => return Ok(value(bytes, 0)?.map_or(Head::Partial, |(_, used)| Head::Aside(used))),
        Some(b'$') if into => {
            let Some((text, used)) = line(&bytes[1..], 32)? else { return Ok(Head::Partial) };
            return match int(text)? {
                -1 => Ok(Head::Whole(Answer::Nil, used + 1)),
                n => u64::try_from(n)
                    .map(|n| Head::Body(n, used + 1))
                    .map_err(|_| Garbage::at("a string of no length", bytes)),
            };
        }
        Some(_) => (),
    }
    Ok(value(bytes, 0)?.map_or(Head::Partial, |(answer, used)| Head::Whole(answer, used)))
}

fn int(text: &[u8]) -> Result<i64, Garbage> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|t| t.parse().ok())
        .ok_or_else(|| Garbage::at("not a number where one must stand", text))
}

/// A whole value and its length in bytes, if it is there whole.
fn value(bytes: &[u8], depth: usize) -> Result<Option<(Answer, usize)>, Garbage> {
    if depth > DEEPEST {
        return Err(Garbage::at("lists in lists without end", bytes));
    }
    let Some(kind) = bytes.first() else { return Ok(None) };
    if !b"+-:$*_#,(!=~%|>".contains(kind) {
        return Err(Garbage::at("not an answer of Redis", bytes));
    }
    let Some((text, used)) = line(&bytes[1..], LONGEST_LINE)? else { return Ok(None) };
    let used = used + 1;
    Ok(Some(match kind {
        b'+' => (Answer::Text(text.to_vec()), used),
        b'-' => (Answer::Error(String::from_utf8_lossy(text).into_owned()), used),
        b':' => (Answer::Int(int(text)?), used),
        b'_' => (Answer::Nil, used),
        b'#' => (Answer::Int((text == b"t").into()), used),
        b',' | b'(' => (Answer::Bytes(text.to_vec()), used),
        b'$' | b'!' | b'=' => {
            let len = int(text)?;
            if len == -1 {
                return Ok(Some((Answer::Nil, used)));
            }
            let len = u64::try_from(len)
                .ok()
                .filter(|n| *n <= LONGEST_BYTES)
                .ok_or_else(|| Garbage::at("a string of no possible length", bytes))?
                as usize;
            let Some(body) = bytes.get(used..used + len + 2) else { return Ok(None) };
            let body =
                body.strip_suffix(b"\r\n").ok_or_else(|| Garbage::at("a string without its end", bytes))?;
            let answer = match kind {
                b'!' => Answer::Error(String::from_utf8_lossy(body).into_owned()),
                // "txt:" stands before a verbatim string.
                b'=' => Answer::Bytes(body.get(4..).unwrap_or_default().to_vec()),
                _ => Answer::Bytes(body.to_vec()),
            };
            (answer, used + len + 2)
        }
        _ => {
            let count = int(text)?;
            if count == -1 {
                return Ok(Some((Answer::Nil, used)));
            }
            let mut count = u64::try_from(count).map_err(|_| Garbage::at("a list of no length", bytes))?;
            if matches!(kind, b'%' | b'|') {
                count = count.saturating_mul(2);
            }
            let (mut all, mut used) = (Vec::new(), used);
            for _ in 0..count {
                let Some((item, more)) = value(&bytes[used..], depth + 1)? else { return Ok(None) };
                all.push(item);
                used += more;
            }
            if *kind == b'|' {
                // Attributes stand before the value that they are about.
                let Some((answer, more)) = value(&bytes[used..], depth + 1)? else { return Ok(None) };
                (answer, used + more)
            } else {
                (Answer::List(all), used)
            }
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> Answer {
        match head(bytes, false) {
            Ok(Head::Whole(answer, used)) if used == bytes.len() => answer,
            Ok(_) => panic!("{} is not whole", bytes.escape_ascii()),
            Err(e) => panic!("{}: {e:?}", bytes.escape_ascii()),
        }
    }

    #[test]
    fn answers_of_both_languages_are_read() {
        let bytes = |b: &[u8]| Answer::Bytes(b.to_vec());
        assert_eq!(whole(b"+OK\r\n"), Answer::Text(b"OK".to_vec()));
        assert_eq!(whole(b"-ERR no\r\n"), Answer::Error("ERR no".into()));
        assert_eq!(whole(b"!6\r\nERR no\r\n"), Answer::Error("ERR no".into()));
        assert_eq!((whole(b":-7\r\n"), whole(b"#t\r\n")), (Answer::Int(-7), Answer::Int(1)));
        for nil in [&b"$-1\r\n"[..], b"*-1\r\n", b"_\r\n"] {
            assert_eq!(whole(nil), Answer::Nil);
        }
        assert_eq!(whole(b"$4\r\na\r\nb\r\n"), bytes(b"a\r\nb"));
        assert_eq!(whole(b"=5\r\ntxt:x\r\n"), bytes(b"x"));
        assert_eq!(
            whole(b"*2\r\n:1\r\n*1\r\n$0\r\n\r\n"),
            Answer::List(vec![Answer::Int(1), Answer::List(vec![bytes(b"")])])
        );
        assert_eq!(
            whole(b"%1\r\n+a\r\n:1\r\n"),
            Answer::List(vec![Answer::Text(b"a".to_vec()), Answer::Int(1)])
        );
        assert_eq!(whole(b"|1\r\n+a\r\n:1\r\n:9\r\n"), Answer::Int(9));
        assert!(matches!(head(b">1\r\n+a\r\n:1\r\n", false), Ok(Head::Aside(8))));
        assert!(matches!(head(b"$5\r\nhe", true), Ok(Head::Body(5, 4))));
        assert!(matches!(head(b"$-1\r\n", true), Ok(Head::Whole(Answer::Nil, 5))));
    }

    #[test]
    fn an_answer_cut_anywhere_is_waited_for() {
        let all = b"*3\r\n$3\r\nabc\r\n%1\r\n:1\r\n_\r\n-ERR x\r\n";
        for cut in 0..all.len() {
            assert!(matches!(head(&all[..cut], false), Ok(Head::Partial)), "cut at {cut}");
        }
        whole(all);
    }

    #[test]
    fn what_is_no_answer_is_said_so() {
        for bad in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"\0\0\0\0",
            b"$abc\r\n",
            b"$-2\r\n",
            b"*-2\r\n",
            b"$3\r\nabcXY",
            b"$99999999999\r\n",
            b"+no carriage return\n",
            b":\r\n",
            b":1x\r\n",
        ] {
            assert!(head(bad, false).is_err(), "{}", bad.escape_ascii());
        }
        assert!(head(&[b'+'; 70 << 10], false).is_err(), "a line without an end");
        assert!(head("*1\r\n".repeat(100).as_bytes(), false).is_err(), "lists without end");
        assert!(head(b"$-7\r\n", true).is_err());
    }

    #[test]
    fn commands_are_written_as_redis_reads_them() {
        let mut out = Out::default();
        command(&mut out, 3);
        word(&mut out, b"SETRANGE");
        number(&mut out, 0);
        number(&mut out, 1_000_000);
        let bytes: Vec<u8> = out.next().iter().flat_map(|s| s.to_vec()).collect();
        assert_eq!(bytes, b"*3\r\n$8\r\nSETRANGE\r\n$1\r\n0\r\n$7\r\n1000000\r\n");
    }
}
