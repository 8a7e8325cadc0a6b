//! `iris config`, `iris completions`, `iris man` and the help.

use super::bed::{Bed, outcome};
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};

const SUBCOMMANDS: [&str; 10] =
    ["run", "check", "config", "status", "drain", "crawl", "fsck", "bench", "completions", "man"];

#[test]
fn config_shows_values_and_origins() {
    let bed = Bed::new();
    let data = bed.folder("data");
    let file = bed.at("iris.toml");
    std::fs::write(&file, "[tier0]\nmemory = '1MiB'\n").unwrap();
    let args = ["config", "--mount", "data,settle=drain", "--set", "log=warn", "--config", "iris.toml"];
    let (code, out, err) = outcome(bed.iris(args).env("IRIS_THRESHOLD", "16KiB"));
    assert_eq!((code, err.as_str()), (0, ""));
    let row = |key: &str| -> Vec<String> {
        let line = out.lines().find(|l| l.split_whitespace().next() == Some(key));
        line.unwrap_or_else(|| panic!("no {key} in {out}"))
            .split("  ")
            .map(str::trim)
            .filter(|w| !w.is_empty())
            .map(String::from)
            .collect()
    };
    assert_eq!(row("tier0.memory"), ["tier0.memory", "1MiB", &format!("{}:2", file.display())]);
    assert_eq!(row("threshold"), ["threshold", "16KiB", "variable IRIS_THRESHOLD"]);
    assert_eq!(row("log"), ["log", "warn", "command line"]);
    assert_eq!(row("tier0.storage"), ["tier0.storage", "0", "default"]);
    let mount = format!("mount.\"{}\"", data.display());
    assert_eq!(row(&mount)[1..], ["mounted", "command line"]);
    assert_eq!(row(&format!("{mount}.settle"))[1..], ["drain", "command line"]);
    assert_eq!(row(&format!("{mount}.threshold"))[1..], ["16KiB", "variable IRIS_THRESHOLD"]);

    let (_, out, _) = outcome(bed.iris(args).arg("--json").env("IRIS_THRESHOLD", "16KiB"));
    let value: Value = serde_json::from_str(&out).unwrap();
    let mount = &value["mounts"][0];
    assert_eq!(mount["directory"], data.to_str().unwrap());
    assert_eq!((&mount["threshold"], &mount["settle"]), (&Value::from(16384), &Value::from("drain")));
    assert_eq!(mount["from"]["threshold"], "variable IRIS_THRESHOLD");
    let memory = value["keys"].as_array().unwrap().iter().find(|k| k["key"] == "tier0.memory").unwrap();
    assert_eq!(memory["from"], format!("{}:2", file.display()));
}

#[test]
fn config_prints_a_file_to_start_from() {
    let bed = Bed::new();
    let (code, out, _) = outcome(&mut bed.iris(["config", "--default"]));
    assert_eq!(code, 0);
    std::fs::write(bed.at("iris.toml"), &out).unwrap();
    let (code, _, err) = outcome(&mut bed.iris(["config", "--config", "iris.toml"]));
    assert_eq!((code, err.as_str()), (0, ""));
}

#[test]
fn mistakes_are_told_with_exit_code_2() {
    let bed = Bed::new();
    std::fs::write(bed.at("iris.toml"), "\n[tier0]\nmemroy = 1\n").unwrap();
    let file = bed.at("iris.toml").display().to_string();
    for (args, words) in [
        (
            vec!["--config", "iris.toml"],
            format!("iris: {file}:3: unknown key `tier0.memroy`; did you mean `memory`?\n"),
        ),
        (
            vec!["--set", "treshold=1"],
            "--set treshold: unknown key `treshold`; did you mean `threshold`?".into(),
        ),
        (
            vec!["--set", "threshold=x"],
            "command line, --set threshold: bad value `x` for threshold: a size".into(),
        ),
        (vec!["--set", "mount=/x"], "use --mount DIR".into()),
        (vec!["--set", "log"], "KEY=VALUE is needed".into()),
        (vec!["--mount", "gone"], "command line, --mount: mount gone: No such file".into()),
        (vec!["--mount", "/"], "/ cannot be a mount".into()),
        (vec!["--set", "mapper=balancd"], "unknown mapper `balancd`; did you mean `balanced`?".into()),
    ] {
        let (code, out, err) = outcome(bed.iris(["config"]).args(&args));
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}");
        assert!(err.contains(&words), "{args:?}: {err}");
    }
}

#[test]
fn unknown_variables_are_mentioned_and_misspelt_ones_refused() {
    let bed = Bed::new();
    let (code, out, _) = outcome(bed.iris(["config"]).env("IRIS_SERVER_HOST", "x"));
    assert!(code == 0 && out.contains("IRIS_SERVER_HOST is none of Iris's"), "{out}");
    let (code, _, err) = outcome(bed.iris(["config"]).env("IRIS_MOUTN", "x"));
    assert!(code == 2 && err.contains("did you mean `IRIS_MOUNT`?"), "{err}");
    let (code, out, _) = outcome(bed.iris(["config"]).env("IRIS_DISABLE", "1").env("IRIS_MOUTN", "x"));
    assert!(code == 0 && out.contains("switched off"), "{out}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let bed = Bed::new();
    let mut child =
        bed.iris(["config", "--default"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn help_has_examples_for_every_subcommand() {
    let bed = Bed::new();
    let (code, out, _) = outcome(&mut bed.iris(["--help"]));
    assert_eq!(code, 0);
    for name in SUBCOMMANDS {
        assert!(out.contains(&format!("\n  {name} ")), "{name}: {out}");
        let (code, out, _) = outcome(&mut bed.iris([name, "--help"]));
        assert!(code == 0 && out.contains("Example"), "{name}: {out}");
        assert!(out.contains(&format!("iris {name}")), "{name}: {out}");
    }
    let (code, _, err) = outcome(&mut bed.iris(["stauts"]));
    assert!(code == 2 && err.contains("'status'"), "{err}");
}

#[test]
fn completions_for_the_shells() {
    let bed = Bed::new();
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, _) = outcome(&mut bed.iris(["completions", shell]));
        assert_eq!(code, 0);
        for name in SUBCOMMANDS {
            assert!(out.contains(name), "{shell}: {name}");
        }
    }
    let (_, out, _) = outcome(&mut bed.iris(["completions", "bash"]));
    let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
    bash.stdin.take().unwrap().write_all(out.as_bytes()).unwrap();
    assert!(bash.wait().unwrap().success(), "bash must be able to read its completions");
}

#[test]
fn man_pages_for_every_subcommand() {
    let bed = Bed::new();
    let (code, out, _) = outcome(&mut bed.iris(["man"]));
    assert!(code == 0 && out.contains(".TH iris 1"), "{out}");
    let (code, _, err) = outcome(&mut bed.iris(["man", "--dir", "pages/man1"]));
    assert_eq!((code, err.as_str()), (0, ""));
    for name in SUBCOMMANDS {
        let page = std::fs::read_to_string(bed.at("pages/man1").join(format!("iris-{name}.1"))).unwrap();
        assert!(page.contains(".TH ") && page.contains("Example"), "{name}");
    }
    assert!(bed.at("pages/man1/iris.1").exists());
}
