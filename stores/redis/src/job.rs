//! One command on its way: what is asked, of whom, whether it may be asked twice, and what came of it. Owns how each
//! kind is put into words.

use crate::failure::Trouble;
use crate::node::Node;
use crate::options::Dialect;
use crate::resp::{command, number, word};
use crate::wire::{Answer, Out};
use crate::{meta, scripts};
use std::sync::Arc;

/// What is asked.
#[derive(Clone, Copy)]
pub enum What<'a> {
    /// Bytes from `offset` on, as many as [`Job::into`] takes.
    Get {
        offset: u64,
    },
    /// Length (memcached: and tag).
    Head,
    /// Whether there is one.
    Exists,
    Put {
        bytes: &'a [u8],
        absent: bool,
        tag: Option<u64>,
    },
    Update {
        offset: u64,
        bytes: &'a [u8],
    },
    Delete,
    /// A script over keys, with arguments.
    Run {
        script: &'a scripts::Known,
        keys: &'a [&'a [u8]],
        args: &'a [&'a [u8]],
    },
    /// One of our own scripts over the key, with numbers.
    Own {
        script: &'a scripts::Known,
        numbers: [Option<u64>; 2],
    },
    /// Any command.
    Words(&'a [&'a [u8]]),
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sense {
    /// Bytes of an object.
    Read,
    /// Facts of an object.
    Facts,
    /// It was put.
    Put,
    /// It is done.
    Done,
    /// It is done, or there is no object.
    Resized,
    /// Whatever it says.
    Raw,
}

/// Who is asked.
#[derive(Clone)]
pub enum Whom {
    /// The node that has this slot.
    Slot(u16),
    /// Any.
    Any,
    /// This one.
    Node(Arc<Node>),
}

/// A command on its way.
pub struct Job<'a> {
    pub what: What<'a>,
    pub key: &'a [u8],
    pub whom: Whom,
    /// Whether asking again after a lost answer does no harm.
    pub repeatable: bool,
    /// Where the bytes of an object go.
    pub into: Option<&'a mut [u8]>,
    /// What its answer means.
    pub sense: Sense,
    /// What came of it.
    pub result: Option<Result<Answer, Trouble>>,

    // The rest is the exchange's.
    /// What the server said, before it is judged.
    pub answer: Option<Answer>,
    /// This once at this node, by ASKING.
    pub ask: Option<Arc<Node>>,
    /// The script is sent along.
    pub send_script: bool,
    /// Answers that come before the one that counts.
    pub before: u8,
    /// The complaint among those.
    pub early: Option<String>,
    /// Where in what was sent it begins; `None` before it was put into words.
    pub begins: Option<u64>,
    /// Why it has to be asked again.
    pub trouble: Option<Trouble>,
    pub attempts: u32,
}

impl<'a> Job<'a> {
    /// A command about a key.
    pub fn new(what: What<'a>, key: &'a [u8], whom: Whom, repeatable: bool) -> Job<'a> {
        Job {
            what,
            key,
            whom,
            repeatable,
            into: None,
            sense: Sense::Raw,
            result: None,
            answer: None,
            ask: None,
            send_script: false,
            before: 0,
            early: None,
            begins: None,
            trouble: None,
            attempts: 0,
        }
    }

    /// The script that it needs.
    pub fn script(&self) -> Option<&'a scripts::Known> {
        match self.what {
            What::Run { script, .. } | What::Own { script, .. } => Some(script),
            _ => None,
        }
    }

    /// Puts it into words. `knows`: whether the server has the script.
    pub fn write(&mut self, dialect: Dialect, knows: bool, out: &mut Out<'a>) {
        self.begins = Some(out.total);
        self.before = 0;
        match dialect {
            Dialect::Resp => self.write_resp(knows, out),
            Dialect::Meta => self.write_meta(out),
        }
    }

    fn write_resp(&mut self, knows: bool, out: &mut Out<'a>) {
        if let (Some(script), false) = (self.script(), knows) {
            command(out, 3);
            word(out, b"SCRIPT");
            word(out, b"LOAD");
            word(out, script.source.as_bytes());
            self.before += 1;
        }
        if self.ask.is_some() {
            command(out, 1);
            word(out, b"ASKING");
            self.before += 1;
        }
        let key = self.key;
        match self.what {
            What::Get { offset } => {
                let len = self.into.as_ref().map_or(0, |i| i.len()) as u64;
                command(out, 4);
                word(out, b"GETRANGE");
                word(out, key);
                number(out, offset);
                number(out, last(offset, len));
            }
            What::Head => {
                command(out, 2);
                word(out, b"STRLEN");
                word(out, key);
            }
            What::Exists => {
                command(out, 2);
                word(out, b"EXISTS");
                word(out, key);
            }
            What::Put { bytes, absent, .. } => {
                command(out, 3 + usize::from(absent));
                word(out, b"SET");
                word(out, key);
                word(out, bytes);
                if absent {
                    word(out, b"NX");
                }
            }
            What::Update { offset, bytes } => {
                command(out, 4);
                word(out, b"SETRANGE");
                word(out, key);
                number(out, offset);
                word(out, bytes);
            }
            What::Delete => {
                command(out, 2);
                word(out, b"UNLINK");
                word(out, key);
            }
            What::Run { script, keys, args } => {
                command(out, 3 + keys.len() + args.len());
                word(out, b"EVALSHA");
                word(out, &script.hash);
                number(out, keys.len() as u64);
                keys.iter().chain(args).for_each(|w| word(out, w));
            }
            What::Own { script, numbers } => {
                command(out, 4 + numbers.iter().flatten().count());
                word(out, b"EVALSHA");
                word(out, &script.hash);
                number(out, 1);
                word(out, key);
                numbers.iter().flatten().for_each(|n| number(out, *n));
            }
            What::Words(words) => {
                command(out, words.len());
                words.iter().for_each(|w| word(out, w));
            }
        }
    }

    fn write_meta(&mut self, out: &mut Out<'a>) {
        match self.what {
            What::Get { .. } => meta::get(out, self.key),
            What::Head | What::Exists => meta::head_of(out, self.key),
            What::Put { bytes, absent, tag } => meta::set(out, self.key, bytes, absent, tag),
            What::Delete => meta::delete(out, self.key),
            // What memcached cannot do is refused before; this only asks whether it is there.
            What::Update { .. } | What::Run { .. } | What::Own { .. } | What::Words(_) => meta::version(out),
        }
    }
}

/// The offset of the last of `len` bytes, as far as Redis counts.
pub fn last(offset: u64, len: u64) -> u64 {
    offset.saturating_add(len).saturating_sub(1).min(i64::MAX as u64)
}
