//! What tests share that compare a program on a plain directory with the same program on a mount: building C, C++
//! and Fortran programs, running them with and without libiris, and comparing the trees they leave.
//!
//! Each test crate uses a part of it.
#![allow(dead_code)]

pub mod build;
pub mod node;
pub mod pair;
pub mod run;
pub mod servers;
pub mod tree;
