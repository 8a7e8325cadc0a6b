//! The command `iris`, driven as a user drives it: the built binary, real programs, exit codes and words.

#![allow(clippy::unwrap_used)]

#[path = "command/bed.rs"]
mod bed;
#[path = "command/bench.rs"]
mod bench;
#[path = "command/check.rs"]
mod check;
#[path = "command/drain.rs"]
mod drain;
#[path = "command/fsck.rs"]
mod fsck;
#[path = "command/run.rs"]
mod run;
#[path = "command/show.rs"]
mod show;
