//! Whether the server keeps the conditions of puts: some take If-None-Match and If-Match, answer 200 and overwrite, and
//! some check them but not atomically. Where neither the address nor the server's name tells, a few puts do.

use crate::shared::{Shared, nonce};
use crate::writing;
use bytes::Bytes;
use iris_store::{Condition, Kind, StoreError};
use std::sync::Arc;
use tokio::task::JoinSet;

/// How many put at once where one may succeed.
const RACERS: usize = 6;

/// Whether it does; asks where that is not known yet.
pub async fn kept(shared: &Arc<Shared>) -> Result<bool, StoreError> {
    if shared.keeps_conditions().is_none() {
        ask(shared).await?;
    }
    Ok(shared.keeps_conditions() == Some(true))
}

/// The error of a conditional put to a server that ignores conditions.
pub fn unsupported(shared: &Shared, key: &str) -> StoreError {
    let detail = "this server does not keep the conditions of puts (or the option conditional=no says so)";
    shared.error(Kind::Unsupported, Some(key), detail)
}

/// Finds it out where it is not known. An error says that it could not be found out now.
pub async fn ask(shared: &Arc<Shared>) -> Result<(), StoreError> {
    let _one = shared.probing.lock().await;
    if shared.keeps_conditions().is_some() {
        return Ok(());
    }
    let key = format!("{}.iris-probe-{}", shared.options.prefix, nonce());
    let answer = probe(shared, &key).await;
    // Whatever came of it, including a put whose answer got lost.
    let cleared = writing::delete(shared, &key).await;
    match answer {
        Ok(kept) => {
            if let Err(e) = cleared {
                (shared.log)(1, &format!("the probe of conditional puts could not be removed: {e}"));
            }
            shared.found_conditions(kept);
            Ok(())
        }
        Err(e) if e.kind.may_pass() => Err(e),
        // Who may not put at all needs no conditions.
        Err(e) => {
            (shared.log)(1, &format!("conditional puts are taken for impossible: {e}"));
            shared.found_conditions(false);
            Ok(())
        }
    }
}

/// Puts at once where one may win, then over a tag that is wrong, then over the right one.
async fn probe(shared: &Arc<Shared>, key: &str) -> Result<bool, StoreError> {
    let mut racers = JoinSet::new();
    for _ in 0..RACERS {
        let (shared, key) = (shared.clone(), key.to_owned());
        racers.spawn(async move {
            let bytes = Bytes::from_static(b"whether conditions are kept\n");
            writing::put_anyhow(&shared, &key, bytes, &Condition::Absent, &Vec::new()).await
        });
    }
    let mut won = 0;
    while let Some(ended) = racers.join_next().await {
        match ended {
            Ok(Ok(_)) => won += 1,
            Ok(Err(e)) if e.kind == Kind::Precondition => (),
            Ok(Err(e)) => return Err(e),
            Err(e) => {
                return Err(shared.error(Kind::Corrupt, None, format!("a probe came to a bad end: {e}")));
            }
        }
    }
    if won != 1 {
        return Ok(false);
    }
    let wrong = Condition::Tag("00000000000000000000000000000000".into());
    match writing::put_anyhow(shared, key, Bytes::new(), &wrong, &Vec::new()).await {
        Ok(_) => return Ok(false),
        Err(e) if e.kind == Kind::Precondition => (),
        Err(e) => return Err(e),
    }
    let Some(tag) = writing::head(shared, key).await?.tag else { return Ok(false) };
    match writing::put_anyhow(shared, key, Bytes::new(), &Condition::Tag(tag), &Vec::new()).await {
        Ok(_) => Ok(true),
        Err(e) if e.kind == Kind::Precondition => Ok(false),
        Err(e) => Err(e),
    }
}
