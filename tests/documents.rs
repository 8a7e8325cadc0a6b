//! The documents do not rot: whatever test, program, file, key, variable or subcommand they name exists, no promise
//! stands without a test, and every key and every reason of the report is documented.

use iris::config::{KEYS, VARIABLES};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The documents that are held to it.
const DOCUMENTS: &[&str] = &[
    "README.md",
    "docs/semantics.md",
    "docs/installation.md",
    "CONTRIBUTING.md",
    "docs/configuration.md",
    "docs/benchmarks.md",
    "docs/design.md",
    "docs/containers.md",
    "docs/crates.md",
    "docs/stores.md",
    "docs/mappers.md",
    "docs/mpi.md",
    "CHANGELOG.md",
];
/// What a path of this repository begins with.
const FOLDERS: &[&str] = &[
    ".ci/",
    "benches/",
    "c-tests/",
    "docs/",
    "include/",
    "mappers/",
    "mpi-examples/",
    "preload/",
    "scripts/",
    "src/",
    "stores/",
    "tests/",
];
/// Extensions of files in which a test may stand, or a variable of the tests be read.
const SOURCES: &[&str] = &["rs", "c", "h", "cpp", "sh", ""];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The sources below a folder.
fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, into);
        } else if SOURCES.contains(&path.extension().map_or("", |e| e.to_str().unwrap_or("?"))) {
            into.push(path);
        }
    }
}

/// What stands between backticks, fenced blocks left out.
fn spans(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    assert!(!fenced, "a fenced block has no end");
    prose.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Whether `name` is a test in this source: a function marked as one, or an entry of a macro that makes them.
fn has_test(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let entry = format!("{name} = ");
    lines.iter().enumerate().any(|(i, line)| {
        let function =
            line.strip_prefix("fn ").and_then(|l| l.strip_prefix(name)).is_some_and(|l| l.starts_with('('));
        function && lines[i.saturating_sub(3)..i].contains(&"#[test]")
            || line.starts_with(&entry) && source.contains("macro_rules! programs")
    })
}

/// The sources of a test suite: `tests/SUITE.rs` and the folder of that name, or one file.
fn suite(name: &str) -> Vec<PathBuf> {
    if name.ends_with(".rs") {
        return vec![root().join(name)];
    }
    let mut files = vec![root().join(format!("tests/{name}.rs"))];
    let folder = root().join("tests").join(name);
    if folder.is_dir() {
        sources(&folder, &mut files);
    }
    files
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Whether a span names a test, and if it does, whether the test exists.
fn names_test(span: &str) -> Option<bool> {
    if let Some(verb) = span.strip_prefix("model:").filter(|v| is_name(v)) {
        return Some(text("tests/model/strategy.rs").contains(&format!("\"{verb}\",")));
    }
    if let Some((file, name)) = span.split_once("::") {
        let file_ok = is_name(file) || file.ends_with(".rs");
        return (file_ok && is_name(name)).then(|| {
            suite(file).iter().any(|p| fs::read_to_string(p).is_ok_and(|source| has_test(&source, name)))
        });
    }
    if span.contains(|c: char| c.is_uppercase() || c.is_whitespace()) {
        return None;
    }
    let program = span.strip_prefix("c-tests/").and_then(|p| p.split('.').next());
    if let Some(program) = program.filter(|p| !p.is_empty()) {
        return Some(root().join(span).is_file() && has_test(&text("tests/differential.rs"), program));
    }
    (span.starts_with("tests/programs/") && span.ends_with(".sh")).then(|| root().join(span).is_file())
}

/// What is wrong with a span, if anything.
fn wrong(span: &str, known_variables: &BTreeSet<String>, subcommands: &str) -> Option<String> {
    if let Some(exists) = names_test(span) {
        return (!exists).then(|| "no such test".into());
    }
    if let Some(rest) = span.strip_prefix("iris ") {
        let name = rest.split([' ', '\n']).next().unwrap_or_default();
        let mut variant = name.to_owned();
        variant.get_mut(..1)?.make_ascii_uppercase();
        return (!name.starts_with('-') && !subcommands.contains(&format!("    {variant}(")))
            .then(|| "no such subcommand".into());
    }
    let word = span.split([' ', '=']).next().unwrap_or_default();
    if word.starts_with("IRIS_") && !word.contains('…') {
        return (!known_variables.contains(word)).then(|| "no such variable".into());
    }
    if word.starts_with("tier0.") {
        return (!KEYS.iter().any(|k| k.name == word)).then(|| "no such key".into());
    }
    let path = word.strip_prefix("./").unwrap_or(word);
    let placeholder = path
        .contains(|c: char| c.is_ascii_uppercase() && path.contains("NAME") || "…*<{".contains(c))
        || path.contains("SUITE");
    if FOLDERS.iter().any(|f| path.starts_with(f)) && !placeholder {
        return (!root().join(path).exists()).then(|| "no such file".into());
    }
    None
}

/// Variables that Iris knows, and those that its tests and scripts read.
fn variables() -> BTreeSet<String> {
    let mut files = Vec::new();
    for folder in ["tests", "scripts", "src/config", "stores"] {
        sources(&root().join(folder), &mut files);
    }
    let mut found: BTreeSet<String> = KEYS.iter().map(|k| k.variable.to_owned()).collect();
    found.extend(VARIABLES.iter().map(|(name, _)| (*name).to_owned()));
    // This file's own words prove nothing.
    for file in files.iter().filter(|f| !f.ends_with("documents.rs")) {
        let source = fs::read_to_string(file).unwrap_or_default();
        for (at, _) in source.match_indices("IRIS_") {
            let end = |c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
            found.insert(source[at..].split(end).next().unwrap_or_default().to_owned());
        }
    }
    found
}

#[test]
fn whatever_the_documents_name_exists() {
    let (known, subcommands) = (variables(), text("src/cli/mod.rs"));
    let mut said = Vec::new();
    for document in DOCUMENTS {
        let text = text(document);
        for span in spans(&text) {
            if let Some(what) = wrong(&span, &known, &subcommands) {
                said.push(format!("{document}: `{span}`: {what}"));
            }
        }
        // Scripts in the examples, and links.
        for word in text.split_whitespace().filter(|w| w.starts_with("./scripts/")) {
            if !root().join(word.trim_end_matches(['`', '.', ',', ';', ')'])).is_file() {
                said.push(format!("{document}: {word}: no such script"));
            }
        }
        for link in text.split("](").skip(1).filter_map(|l| l.split(')').next()) {
            let folder = root().join(document);
            let local = !link.contains("://") && !link.starts_with('#');
            if local
                && !folder.parent().expect("a folder").join(link.split('#').next().unwrap_or(link)).exists()
            {
                said.push(format!("{document}: {link}: the link leads nowhere"));
            }
        }
    }
    assert!(said.is_empty(), "{}", said.join("\n"));
}

#[test]
fn every_promise_names_its_tests() {
    let text = text("docs/semantics.md");
    let mut promises = 0;
    let mut bare = Vec::new();
    let mut promising = false;
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            promising = !heading.starts_with("Known gaps") && !heading.starts_with("Why ");
        } else if promising && line.starts_with("- ") && !text.starts_with(line) {
            promises += 1;
            let tests = line.rsplit_once(" — ").map_or("", |(_, tests)| tests);
            let named = spans(tests);
            if named.is_empty() || named.iter().any(|s| names_test(s).is_none()) {
                bare.push(line);
            }
        }
    }
    assert!(promises > 40, "only {promises} promises were found: has the form of the document changed?");
    assert!(bare.is_empty(), "promises without a test behind the dash:\n{}", bare.join("\n"));
}

#[test]
fn the_document_of_the_configuration_has_every_key_and_no_other() {
    let text = text("docs/configuration.md");
    let table: BTreeSet<(String, String)> = text
        .lines()
        .filter_map(|l| {
            let mut cells = l.strip_prefix("| `")?.split('`');
            let (key, variable) = (cells.next()?, cells.nth(1)?);
            variable.starts_with("IRIS_").then(|| (key.to_owned(), variable.to_owned()))
        })
        .collect();
    let keys = KEYS.iter().map(|k| (k.name.to_owned(), k.variable.to_owned())).collect();
    assert_eq!(table, keys);
}

#[test]
fn every_reason_of_the_report_is_explained() {
    let text = text("docs/semantics.md");
    let explained: BTreeSet<&str> =
        text.lines().filter_map(|l| l.strip_prefix("| `")?.split_once("` |")).map(|(name, _)| name).collect();
    let reasons = iris::report::REASONS.iter().map(|(_, name)| *name).collect();
    assert_eq!(explained, reasons);
}

/// The checks above must be able to fail.
#[test]
fn what_does_not_exist_is_noticed() {
    let (known, subcommands) = (variables(), text("src/cli/mod.rs"));
    for span in [
        "c-tests/no_such.c",
        "c-tests/broken_preload.c",
        "model:fly",
        "kill::no_such_test",
        "faults::each",
        "src/journal/tests.rs::no_such_test",
        "nowhere::at_all",
        "tests/programs/none.sh",
        "iris fly",
        "IRIS_NO_SUCH_VARIABLE",
        "tier0.memroy",
        "./scripts/none",
        "docs/none.md",
    ] {
        assert!(wrong(span, &known, &subcommands).is_some(), "{span}");
    }
    for span in
        ["c-tests/append.c", "model:write", "faults::flipped_bits_never_become_data", "iris run", "src/cli"]
    {
        assert_eq!(wrong(span, &known, &subcommands), None, "{span}");
    }
}
