//! Link options of libiris.so.

fn main() {}
