//! Placement: where a request's bytes go. Owns the decisions and nothing else: no I/O, no clock, no state that
//! is not passed in, so that every decision can be tested by property and benchmarked alone.
//!
//! - [`Router`]: the overlay in a store, or the base.
//! - Files → objects: a [`Mapper`] turns a byte range of a file into pieces of objects. [`Registry`] makes one
//!   from a text such as `balanced:bucket=1MiB`; [`key()`] gives each object its textual key.
//! - Objects → files: [`containers`].
#![forbid(unsafe_code)]

pub mod containers;
mod extents;
mod key;
mod mapper;
mod objects;
mod options;
mod plan;
mod ranges;
mod record;
mod registry;
mod router;
mod tiling;
mod use_of_file;

pub use extents::{Extent, Extents};
pub use key::{KeyError, key, key_into, parse_key, prefix};
pub use mapper::{Mapper, Op, Standing, Usage};
pub use options::{OptionSpec, Options, SpecError, show_size, size};
pub use plan::{
    Facts, Guard, How, MAX_FILE, MAX_NUMBER, Object, Objects, Piece, Plan, PlanError, Store, end_of,
};
pub use record::{LayoutKind, Record, RecordError, Stage};
pub use registry::{Maker, Registry};
pub use router::{Place, Router};

// One line a mapper: its file, and by it its entry in the registry.
registry::mappers! {
    naive,
    balanced,
    write_optimized,
    read_optimized,
    auto,
}
