//! Hooks round the life of a process: fork and vfork, exec and spawn with the environment they pass on, exit.

pub mod env;
pub mod exec;
pub mod exit;
pub mod fork;
mod program;
pub mod spawn;
