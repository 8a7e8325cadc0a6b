//! `iris bench`: that it measures what it is asked for, compares, tells in every form, and leaves nothing.

use super::bed::{Bed, library, outcome};
use serde_json::Value;
use std::collections::BTreeSet;

/// The words of one field of all figures.
fn words(value: &Value, field: &str) -> BTreeSet<String> {
    let figures = value["figures"].as_array().unwrap();
    figures.iter().map(|f| f[field].as_str().unwrap().to_owned()).collect()
}

fn empty(bed: &Bed, folder: &str) -> bool {
    std::fs::read_dir(bed.at(folder)).unwrap().next().is_none()
}

#[test]
fn bench_measures_mapping_and_traces() {
    let bed = Bed::new();
    bed.folder("store");
    std::fs::write(bed.at("one.csv"), "FOPEN,0,0\nWRITE,0,70000\nWRITE,50000,100000\nREAD,10,99000\n")
        .unwrap();
    let args = ["bench", "mapping", "traces", "--dir", "store", "--rounds", "1", "--requests", "64"];
    let (code, out, err) = outcome(bed.iris(args).args(["--trace", "one.csv", "--json", "--plots", "plots"]));
    assert_eq!((code, err.as_str()), (0, ""));
    let value: Value = serde_json::from_str(&out).unwrap();
    let all = ["auto", "balanced", "naive", "read-optimized", "write-optimized"];
    assert!(all.iter().all(|m| words(&value, "who").contains(*m)), "{out}");
    assert!(words(&value, "table").contains("trace one on kv"), "{out}");
    let svg = std::fs::read_to_string(bed.at("plots/trace-one-on-kv.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("balanced"));
    assert!(empty(&bed, "store"), "the store of the measurement goes with it");
}

#[test]
fn bench_measures_objects_in_files() {
    let bed = Bed::new();
    bed.folder("store");
    let args = ["bench", "objects", "--dir", "store", "--rounds", "1", "--size", "2MiB"];
    let (code, out, err) = outcome(&mut bed.iris(args));
    assert_eq!((code, err.as_str()), (0, ""));
    for words in ["one-to-one", "n-to-m-optimized", "all four", "Every byte was compared."] {
        assert!(out.contains(words), "{out}");
    }
    assert!(empty(&bed, "store"));
}

#[test]
fn bench_measures_placement_and_workflow() {
    let bed = Bed::new();
    bed.folder("store");
    bed.folder("pfs");
    std::fs::write(bed.at("one.csv"), "WRITE,0,100\nWRITE,300000,200000\nWRITE,50,100000\nREAD,10,99000\n")
        .unwrap();
    let args = ["bench", "placement", "workflow", "--dir", "store", "--directory", "pfs", "--rounds", "1"];
    let mut iris = bed.iris(args);
    let (code, out, err) =
        outcome(iris.args(["--trace", "one.csv", "--json"]).env("IRIS_LIBRARY", library()));
    assert_eq!((code, err.as_str()), (0, ""));
    let value: Value = serde_json::from_str(&out).unwrap();
    let who = words(&value, "who");
    for way in
        ["directory only", "store only", "hybrid, auto", "hybrid, small requests", "copying", "in place"]
    {
        assert!(who.contains(way), "{way}: {out}");
    }
    assert!(empty(&bed, "store") && empty(&bed, "pfs"));
}

#[test]
fn bench_says_what_is_wrong() {
    let bed = Bed::new();
    std::fs::write(bed.at("bad.csv"), "WRITE,1\n").unwrap();
    let cases: [(&[&str], i32, &str); 4] = [
        (&["bench", "traces"], 2, "name one by --trace FILE"),
        (&["bench", "traces", "--trace", "bad.csv"], 1, "bad.csv: line 1: `WRITE,1`: not OP,OFFSET,SIZE"),
        (&["bench", "files", "--store", "nonsense"], 2, "nonsense"),
        (&["bench", "mapping", "--dir", "no-such"], 1, "--dir names another folder"),
    ];
    for (args, right, words) in cases {
        let (code, _, err) = outcome(&mut bed.iris(args));
        assert!(code == right && err.contains(words), "{args:?}: {code}: {err}");
    }
}
