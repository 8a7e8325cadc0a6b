//! Scripts: their hashes, and Iris's own. Owns the words of the latter.

use iris_store::Script;
use std::sync::{Arc, Mutex, PoisonError};

/// A script and its hash in hexadecimal.
#[derive(Debug, PartialEq, Eq)]
pub struct Known {
    pub source: &'static str,
    pub hash: [u8; 40],
}

impl Known {
    fn of(source: &'static str) -> Known {
        let mut hash = [0; 40];
        hash.copy_from_slice(sha1_smol::Sha1::from(source).digest().to_string().as_bytes());
        Known { source, hash }
    }
}

/// Bytes of an object, or nothing where there is none (GETRANGE does not tell).
const GET: &str = "local v=redis.call('GETRANGE',KEYS[1],ARGV[1],ARGV[2]) \
    if #v==0 and redis.call('EXISTS',KEYS[1])==0 then return false end return v";

/// Length of an object, or -1 where there is none (STRLEN does not tell).
const HEAD: &str = "local n=redis.call('STRLEN',KEYS[1]) \
    if n==0 and redis.call('EXISTS',KEYS[1])==0 then return -1 end return n";

/// Sets an object's length: 1, or 0 where there is none. (SETRANGE fills by zeros; an empty string needs SET.)
const RESIZE: &str = "if redis.call('EXISTS',KEYS[1])==0 then return 0 end \
    local n,l=tonumber(ARGV[1]),redis.call('STRLEN',KEYS[1]) \
    if n==0 then redis.call('SET',KEYS[1],'','KEEPTTL') \
    elseif n<l then redis.call('SET',KEYS[1],redis.call('GETRANGE',KEYS[1],0,n-1),'KEEPTTL') \
    elseif n>l then redis.call('SETRANGE',KEYS[1],n-1,'\\0') end return 1";

/// Changes objects if there is one of the first key and none of the second. The arguments are of each other key: what to do,
/// a number and bytes.
pub const CHANGE_BETWEEN: Script = Script {
    name: "change-between",
    source: "if redis.call('EXISTS',KEYS[1])==0 or redis.call('EXISTS',KEYS[2])==1 then return 0 end \
        for i=3,#KEYS do \
        local k,how,n,b=KEYS[i],ARGV[3*i-8],tonumber(ARGV[3*i-7]),ARGV[3*i-6] \
        if how=='put' then redis.call('SET',k,b) \
        elseif how=='update' then redis.call('SETRANGE',k,n,b) \
        elseif how=='delete' then redis.call('UNLINK',k) \
        elseif redis.call('EXISTS',k)==1 then \
        local l=redis.call('STRLEN',k) \
        if n==0 then redis.call('SET',k,'','KEEPTTL') \
        elseif n<l then redis.call('SET',k,redis.call('GETRANGE',k,0,n-1),'KEEPTTL') \
        elseif n>l then redis.call('SETRANGE',k,n-1,'\\0') end end end return 1",
    // Whoever has gone on since has seen the changes.
    repeatable: true,
};

/// Iris's own scripts.
pub struct Own {
    pub get: Known,
    pub head: Known,
    pub resize: Known,
}

impl Own {
    pub fn new() -> Own {
        Own { get: Known::of(GET), head: Known::of(HEAD), resize: Known::of(RESIZE) }
    }
}

/// The scripts that were run, so that each is hashed once.
#[derive(Default)]
pub struct Registry {
    known: Mutex<Vec<Arc<Known>>>,
}

impl Registry {
    /// A script with its hash.
    pub fn known(&self, script: &Script) -> Arc<Known> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Sources are constants of the program: their place tells them apart, and equal ones at two places do no harm.
        if let Some(found) = known.iter().find(|k| std::ptr::eq(k.source, script.source)) {
            return found.clone();
        }
        let new = Arc::new(Known::of(script.source));
        known.push(new.clone());
        new
    }
}
