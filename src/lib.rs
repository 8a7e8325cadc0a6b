//! The engine of Iris: everything below the hooks, and what the `iris` command shares with them.
//!
//! A request goes down once and comes back once: hook (the preload crate) → [`engine`] → [`namespace`] →
//! [`file`] → router → [`tier0`] or the base. No module calls upward.

// What another machine may order or call differently has been proved on models and tested on this one alone. Whoever
// ports it builds with `--cfg iris_porting` and has every test of scripts/test to pass.
#[cfg(not(any(iris_porting, all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))))]
compile_error!("Iris supports Linux on x86-64 with glibc only: see docs/installation.md");

pub mod admin;
mod aside;
pub mod config;
pub mod engine;
pub mod errno;
mod file;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod home;
mod journal;
#[cfg(all(test, not(miri)))]
#[path = "journal/crash_tests.rs"]
mod journal_crash_tests;
#[cfg(all(test, not(miri)))]
#[path = "journal/damage_tests.rs"]
mod journal_damage_tests;
#[cfg(test)]
#[path = "journal/tests.rs"]
mod journal_tests;
pub mod log;
pub mod mapper_plugins;
pub mod namespace;
mod own_thread;
mod prefetch;
pub mod report;
mod spin;
pub mod stores;
mod sys;
pub mod tier0;
