//! Mappers of third parties: the example in C, built here, behaves as Iris's own; a library that is none, or whose
//! plans are wrong, is refused in words.

#[path = "../mappers/tests/support/mod.rs"]
mod support;

use iris::mapper_plugins::{PluginError, load};
use iris_mappers::{Facts, Mapper, Plan, Registry, Store};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{File, PLAIN, RICH};

fn build(folder: &Path, name: &str, source: &Path) -> PathBuf {
    let library = folder.join(name);
    let made = Command::new("gcc")
        .args(["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-I", "include", "-o"])
        .args([&library, source])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("gcc");
    assert!(made.success(), "{name} does not compile");
    library
}

fn with_example(folder: &Path) -> Registry {
    let library = build(folder, "striped.so", Path::new("mappers/examples/striped.c"));
    let mut registry = Registry::own();
    load(library.as_os_str(), &mut registry).expect("the example");
    registry
}

/// A life with everything in it, checked at every step by two processes.
fn live(registry: &Registry, spec: &'static str, caps: Store) {
    let registry = registry.clone();
    let mut file = File::new(caps, 2, move || registry.make(spec).expect(spec));
    let mut random = 42u64;
    let mut below = |n: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % n
    };
    for step in 0..400usize {
        let (offset, len, process) = (below(700), below(90), step % 2);
        match below(10) {
            0 => file.truncate(process, offset, usize::MAX),
            1 => file.rebuild(process),
            2 => file.load(process, 1 - process),
            3 => file.collect(process, 3),
            _ => {
                let bytes: Vec<u8> = (0..len).map(|i| (i as u8).wrapping_add(step as u8) | 1).collect();
                file.write(process, offset, &bytes, usize::MAX).expect("a write");
            }
        }
        for reader in 0..2 {
            file.check(reader, 0, 1000).unwrap_or_else(|e| panic!("{spec}, step {step}: {e}"));
            file.check(reader, offset, len).unwrap_or_else(|e| panic!("{spec}, step {step}: {e}"));
        }
        let mut reached = file.objects_of(process, 0, 1000);
        reached.sort_unstable();
        reached.dedup();
        file.check_known(process, &reached, false);
        if spec == "logged" {
            file.check_garbage(process, |o| reached.binary_search(&o).is_ok(), false);
        }
    }
    file.remove(0, false);
}

#[test]
fn the_example_behaves_as_a_mapper_of_our_own() {
    let folder = tempfile::tempdir().unwrap();
    let registry = with_example(folder.path());
    for caps in [RICH, PLAIN] {
        for spec in ["striped:width=3,unit=16", "striped:width=1,unit=7", "striped", "logged"] {
            live(&registry, spec, caps);
        }
    }
    live(&registry, "logged", Store { max_object: 20, ..PLAIN });
}

#[test]
fn options_go_through_and_are_refused_in_the_library_s_words() {
    let folder = tempfile::tempdir().unwrap();
    let registry = with_example(folder.path());
    assert_eq!(registry.make("striped:width=7").unwrap().spec(), "striped:width=7");
    assert_eq!(registry.make("logged").unwrap().spec(), "logged");
    for (text, words) in [
        ("striped:width=0", "mapper striped: width must be 1 to 1024 objects"),
        ("striped:with=4", "mapper striped: the options are width=NUMBER and unit=BYTES"),
        ("logged:x", "mapper logged: it has no options"),
        ("striped2", "unknown mapper `striped2`; did you mean `striped`?"),
    ] {
        let said = registry.make(text).map(|m| m.spec()).unwrap_err().to_string();
        assert!(said.contains(words), "{text}: {said}");
    }
    // Twice the same library is twice the same name.
    let mut twice = registry.clone();
    let said = load(folder.path().as_os_str(), &mut twice).unwrap_err().to_string();
    assert!(said.contains("striped.so: a mapper named `striped` is there already"), "{said}");
}

/// A library with one mapper; WRITES is what plan_write does, PARTS what is done to the mapper before it is given.
const SKELETON: &str = r#"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#include "iris_mapper.h"
#include <stddef.h>
static const char *create(const char *o, void **m) { static int x; *m = &x; return NULL; }
static void destroy(void *m) {}
static int standing(const void *m, const iris_facts *f, uint32_t l, uint64_t n) { return IRIS_NEEDED; }
static const char *reads(const void *m, const iris_facts *f, uint64_t o, uint64_t l, iris_plan *p,
                         const iris_plan_calls *c) {
    iris_piece x = {.how = IRIS_READ_WRITTEN, .offset = o, .at = o, .len = l};
    c->piece(p, &x);
    return NULL;
}
static const char *writes(const void *m, const iris_facts *f, uint64_t o, uint64_t l, uint64_t fresh, iris_plan *p,
                          const iris_plan_calls *c) {
    WRITES;
    return NULL;
}
static const char *cut(const void *m, const iris_facts *f, uint64_t s, iris_plan *p, const iris_plan_calls *c) {
    return NULL;
}
static const char *end(const void *m, const iris_facts *f, iris_plan *p, const iris_plan_calls *c) { return NULL; }
static iris_mapper mapper = {.abi = IRIS_MAPPER_ABI, .size = sizeof(iris_mapper), .name = "m", .create = create,
                             .destroy = destroy, .standing = standing, .plan_read = reads, .plan_write = writes,
                             .plan_truncate = cut, .plan_remove = end};
const iris_mapper *iris_mapper_v1(unsigned n) {
    PARTS;
    return n ? NULL : &mapper;
}
"#;

fn library(folder: &Path, name: &str, writes: &str, parts: &str) -> PathBuf {
    let source = folder.join(format!("{name}.c"));
    let code = SKELETON.replace("WRITES", writes).replace("PARTS", parts);
    std::fs::write(&source, code).expect("a source");
    build(folder, &format!("{name}.so"), &source)
}

#[test]
fn what_is_no_mapper_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let say = |path: &Path| load(path.as_os_str(), &mut Registry::own()).unwrap_err().to_string();
    assert!(say(&folder.path().join("none.so")).contains("none.so: No such file or directory"));
    let text = folder.path().join("text.so");
    std::fs::write(&text, "not a library").unwrap();
    assert!(say(&text).contains("text.so: cannot be loaded: "), "{}", say(&text));
    std::fs::remove_file(&text).unwrap();
    let bare = folder.path().join("bare.c");
    std::fs::write(&bare, "int unrelated;").unwrap();
    let bare = build(folder.path(), "bare.so", &bare);
    assert!(
        say(&bare)
            .contains("it has no function iris_mapper_v1: see iris_mapper.h (named by IRIS_MAPPER_PATH)")
    );
    for (name, parts, words) in [
        ("other", "mapper.abi = 2", "mapper 0 was built for interface 2 ("),
        ("short", "mapper.size -= 8", "this Iris has 1 ("),
        ("nameless", "mapper.name = NULL", "mapper 0 has no name"),
        (
            "loud",
            "mapper.name = \"Loud\"",
            "has the name `Loud`: lower case letters, digits and `-` are needed",
        ),
        ("taken", "mapper.name = \"balanced\"", "a mapper named `balanced` is there already"),
        ("lame", "mapper.plan_read = NULL", "mapper 0 (m) has no function plan_read"),
        ("half", "mapper.reset = destroy", "mapper 0 (m) has some of the functions of an index, and not all"),
        ("empty", "return NULL", "it has no mapper"),
    ] {
        let said = say(&library(folder.path(), name, "", parts));
        assert!(said.contains(words), "{name}: {said}");
    }
    // Whatever is wrong, the mappers before it are there, and nothing else.
    let mut registry = Registry::own();
    let lists = load(folder.path().as_os_str(), &mut registry);
    assert!(matches!(lists, Err(PluginError::NotAMapper { .. })));
    assert_eq!(registry.makers().count(), Registry::own().makers().count());
}

#[test]
fn a_wrong_plan_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let piece = |fields: &str| format!("iris_piece x = {{{fields}}}; c->piece(p, &x)");
    let whole = ".how = IRIS_PUT, .offset = o, .len = l";
    for (i, (code, words)) in [
        (String::new(), "its plan is wrong: a write leaves bytes out"),
        ("return \"not today\"".into(), "mapper m: not today"),
        (piece(".how = IRIS_PUT, .offset = o, .len = l - 1"), "a write leaves bytes out"),
        (piece(".how = IRIS_PUT, .offset = o + 1, .len = l"), "writes nothing, or something else"),
        (piece(".how = IRIS_PUT, .offset = o, .len = 0"), "writes nothing, or something else"),
        (piece(".how = IRIS_ZEROS, .offset = o, .len = l"), "writes nothing, or something else"),
        (piece(".how = IRIS_PUT, .offset = o, .len = l, .at = 1"), "a put does not begin"),
        (piece(".how = IRIS_UPDATE, .offset = o, .len = l"), "the store cannot reach a part"),
        (piece(".how = 99, .offset = o, .len = l"), "a piece says an unknown `how`"),
        (piece(".how = IRIS_PUT, .offset = o, .len = l, .guard = 7"), "a piece says an unknown `guard`"),
        (piece(".how = IRIS_PUT, .offset = o, .len = l, .guard = IRIS_IF_ABSENT"), "a guard does not fit"),
        (piece(".how = IRIS_MODIFY, .offset = o, .len = l, .at = UINT64_MAX"), "larger than the store takes"),
        (piece(&format!("{whole}, .number = IRIS_MAX_NUMBER + 1")), "an object number is too large"),
        (
            piece(&format!("{whole}}}; c->take(p, IRIS_MAX_NUMBER + 2); (void)(int){{0")),
            "too many object numbers",
        ),
        (
            piece(&format!("{whole}}}; iris_objects r = {{.first = 1}}; c->remove(p, &r); (void)(int){{0")),
            "objects with numbers out of range",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let library = library(folder.path(), &format!("wrong{i}"), &code, "");
        let mut registry = Registry::own();
        load(library.as_os_str(), &mut registry).unwrap();
        let (mapper, mut plan) = (registry.make("m").unwrap(), Plan::default());
        let facts = Facts { size: 100, store: Store { max_object: 1000, ..PLAIN } };
        let said = mapper.plan_write(&facts, 10, 20, 5, &mut plan).unwrap_err().to_string();
        assert!(said.contains(words), "{code}: {said}");
        assert!(plan.pieces.is_empty() && plan.deletions.is_empty() && plan.taken == 0, "{plan:?}");
        mapper.plan_read(&facts, 10, 200, &mut plan).unwrap();
        assert_eq!(plan.pieces.iter().map(|p| p.len).sum::<u64>(), 90);
        let foreign: Box<dyn Mapper> = mapper;
        drop(foreign);
    }
}
