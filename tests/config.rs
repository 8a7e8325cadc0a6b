//! The configuration as a user meets it: layers, origins, and errors that name the place and the way out.

#![allow(clippy::unwrap_used)]

use iris::config::{Config, ConfigError, Consistency, Environment, KEYS, Origin, Settle, default_file};
use proptest::prelude::*;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

struct Place {
    dir: TempDir,
    root: PathBuf,
}

impl Place {
    fn new(folders: &[&str]) -> Place {
        let dir = TempDir::new().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        for folder in folders {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        Place { dir, root }
    }

    fn at(&self, name: &str) -> String {
        self.root.join(name).to_str().unwrap().to_string()
    }

    fn file(&self, text: &str) -> String {
        fs::write(self.dir.path().join("iris.toml"), text).unwrap();
        self.at("iris.toml")
    }
}

fn load(set: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let mut env = Environment::new();
    for (name, value) in set {
        env.set(name, value);
    }
    Config::load(&env)
}

fn message(set: &[(&str, &str)]) -> String {
    load(set).expect_err("this configuration must be refused").to_string()
}

#[test]
fn nothing_set_gives_the_documented_defaults() {
    let config = load(&[]).unwrap();
    assert!(config.mounts.is_empty() && !config.disabled && config.unknown.is_empty());
    assert_eq!(config.tier0.memory, 64 << 20);
    assert_eq!((config.tier0.storage, config.tier0.flush_after_ms), (0, 1000));
    assert_eq!(
        (config.tier0.path, config.tier0.storage_path, config.report, config.log),
        (None, None, None, 0)
    );
}

#[test]
fn the_table_of_keys_tells_the_true_defaults() {
    let config = load(&[]).unwrap();
    for key in &KEYS {
        assert_eq!(config.text(key.id), key.default, "{}", key.name);
    }
}

#[test]
fn one_directory_needs_one_variable() {
    let p = Place::new(&["data"]);
    let config = load(&[("IRIS_MOUNT", &p.at("data"))]).unwrap();
    let mount = &config.mounts[0];
    assert_eq!(mount.root, p.at("data").as_bytes());
    assert_eq!(
        (mount.threshold, mount.consistency, mount.settle),
        (64 << 10, Consistency::Posix, Settle::Close)
    );
    assert_eq!(config.mount_origins[0].mount, Origin::Variable("IRIS_MOUNT"));
    assert_eq!(config.mount_origins[0].threshold, Origin::Default);
}

#[test]
fn nested_mounts_are_longest_first_with_their_own_options() {
    let p = Place::new(&["data/inner/most", "other"]);
    let value = format!(
        "{}:{},threshold=4KiB,consistency=session:{}:{},settle=drain",
        p.at("data"),
        p.at("data/inner/most"),
        p.at("other"),
        p.at("data/inner")
    );
    let config = load(&[("IRIS_MOUNT", &value)]).unwrap();
    let roots: Vec<_> = config.mounts.iter().map(|m| String::from_utf8(m.root.clone()).unwrap()).collect();
    assert_eq!(roots, [p.at("data/inner/most"), p.at("data/inner"), p.at("other"), p.at("data")]);
    assert_eq!((config.mounts[0].threshold, config.mounts[0].consistency), (4096, Consistency::Session));
    assert_eq!((config.mounts[1].threshold, config.mounts[1].settle), (65536, Settle::Drain));
}

#[test]
fn links_and_dots_and_slashes_name_one_mount() {
    let p = Place::new(&["data/x"]);
    std::os::unix::fs::symlink(p.at("data"), p.at("link")).unwrap();
    let value = format!("{}:{}/:{}/../data", p.at("link"), p.at("data"), p.at("data"));
    let config = load(&[("IRIS_MOUNT", &value)]).unwrap();
    assert_eq!(config.mounts.len(), 1);
    assert_eq!(config.mounts[0].root, p.at("data").as_bytes());
}

#[test]
fn a_mount_that_is_no_directory_is_named() {
    let p = Place::new(&[]);
    fs::write(p.at("file"), "").unwrap();
    let m = message(&[("IRIS_MOUNT", &p.at("gone"))]);
    assert!(
        m.contains("variable IRIS_MOUNT") && m.contains(&p.at("gone")) && m.contains("No such file"),
        "{m}"
    );
    let m = message(&[("IRIS_MOUNT", &p.at("file"))]);
    assert!(m.contains(&p.at("file")) && m.contains("not a directory"), "{m}");
}

#[test]
fn homes_that_cannot_be_served_are_refused_by_name() {
    for (value, words) in [
        (
            "/virt=redis://127.0.0.1:none/0",
            "redis://127.0.0.1:none/0: what follows the host's ':' is not a port",
        ),
        ("/virt=redis://h/0?name=a b", "a home's name consists of"),
        ("/tmp:/virt=s3://bucket?name=x", "s3://bucket?name=x: homes in one bucket"),
        ("/virt=s3://me:secret@h?name=x", "s3://me:***@h"),
        ("/virt=rdis://me:secret@h", "a home is kv:DIR"),
        ("s3://bucket/prefix", "PREFIX=HOME is needed"),
        ("/=kv:/tmp/iris-never", "cannot be a mount"),
        ("/proc/x=kv:/tmp/iris-never", "cannot be a mount"),
        ("/virt=file:///nowhere/at/all", "file:///nowhere/at/all: /nowhere/at/all: No such file"),
    ] {
        let m = message(&[("IRIS_MOUNT", value)]);
        assert!(m.contains(words) && !m.contains("secret"), "{m}");
    }
}

#[test]
fn a_prefix_with_a_home_need_not_exist() {
    let p = Place::new(&["dir", "store", "way"]);
    std::os::unix::fs::symlink("way", p.root.join("link")).unwrap();
    let value =
        format!("{0}/link/./virt=kv:{0}/store,threshold=1KiB:{0}/dir=file://{0}/way", p.root.display());
    let config = load(&[("IRIS_MOUNT", &value)]).unwrap();
    let mount = config.mounts.iter().find(|m| m.root == p.at("way/virt").as_bytes()).unwrap();
    assert_eq!(mount.shadow.as_deref(), Some(p.at("store/tree").as_bytes()));
    assert_eq!((mount.directory(), mount.threshold), (p.at("store/tree").as_bytes(), 1024));
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(p.at("store/tree")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);
    let mount = config.mounts.iter().find(|m| m.root == p.at("dir").as_bytes()).unwrap();
    assert_eq!(mount.directory(), p.at("way").as_bytes());
    // The variables that a child gets mean the same.
    let variables = config.variables();
    let text = variables.iter().find(|(name, _)| *name == "IRIS_MOUNT").unwrap().1.clone().unwrap();
    let again = load(&[("IRIS_MOUNT", std::str::from_utf8(&text).unwrap())]).unwrap();
    let shown = |c: &Config| c.mounts.iter().map(|m| format!("{m:?}")).collect::<Vec<_>>();
    assert_eq!(shown(&again), shown(&config));

    let m = message(&[("IRIS_MOUNT", &format!("{0}/dir/virt=file://{0}/dir", p.root.display()))]);
    assert!(m.contains("lie in one another"), "{m}");
    let file = p.file("[mount.\"/virt-of-a-file\"]\nhome = 'kv:store'\nsettle = 'drain'\n");
    let config = load(&[("IRIS_CONFIG", &file)]).unwrap();
    assert_eq!(config.mounts[0].directory(), p.at("store/tree").as_bytes());
    assert_eq!(config.mounts[0].root, b"/virt-of-a-file");
}

#[test]
fn the_anchors_of_an_address_lie_in_a_private_folder() {
    use std::os::unix::fs::PermissionsExt;
    let p = Place::new(&["disk"]);
    let storage = p.at("disk");
    let vars = [("IRIS_MOUNT", "/virt=redis://h:1/0"), ("IRIS_TIER0_STORAGE_PATH", storage.as_str())];
    let config = load(&vars).unwrap();
    let tree = std::str::from_utf8(config.mounts[0].directory()).unwrap();
    assert!(tree.starts_with(&storage) && tree.ends_with("/tree"), "{tree}");
    assert!(fs::metadata(tree.replace("/tree", "/control")).unwrap().is_dir());
    // The variables that a child gets lead to the same folder.
    let text = |name: &str| {
        let variables = config.variables();
        let value = variables.iter().find(|(n, _)| *n == name).unwrap().1.clone().unwrap();
        String::from_utf8(value).unwrap()
    };
    let again = load(&[
        ("IRIS_MOUNT", &text("IRIS_MOUNT")),
        ("IRIS_TIER0_STORAGE_PATH", &text("IRIS_TIER0_STORAGE_PATH")),
    ]);
    assert_eq!(again.unwrap().mounts[0].directory(), tree.as_bytes());
    let own = fs::read_dir(&storage).unwrap().next().unwrap().unwrap().path();
    fs::set_permissions(&own, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(message(&vars).contains("is not private"), "{}", message(&vars));
}

#[test]
fn a_name_with_the_separators_in_it_is_escaped() {
    let p = Place::new(&["run=3,a:b\\c"]);
    let value = format!(r"{}/run\=3\,a\:b\\c,threshold=1", p.root.display());
    let config = load(&[("IRIS_MOUNT", &value)]).unwrap();
    assert_eq!(config.mounts[0].root, p.at("run=3,a:b\\c").as_bytes());
    assert_eq!(config.mounts[0].threshold, 1);
}

#[test]
fn roots_that_cannot_be_mounts_say_why() {
    for (dir, why) in [
        ("/", "every file of the system"),
        ("/proc", "kernel makes these files"),
        ("/sys", "kernel makes these files"),
        ("/dev", "devices"),
        ("/dev/shm", "Tier 0"),
    ] {
        let m = message(&[("IRIS_MOUNT", dir)]);
        assert!(m.contains(dir) && m.contains("cannot be a mount") && m.contains(why), "{m}");
    }
}

#[test]
fn every_layer_wins_over_the_one_below() {
    let p = Place::new(&["a", "b", "c"]);
    let file = p.file(&format!(
        "threshold = \"1KiB\"\nsettle = \"background\"\n[mount.\"{}\"]\nthreshold = \"2KiB\"\n[mount.b]\n",
        p.at("a")
    ));
    let of = |config: &Config, name: &str| {
        let root = p.at(name);
        let m = config.mounts.iter().find(|m| m.root == root.as_bytes()).unwrap();
        (m.threshold, m.settle)
    };
    let config = load(&[("IRIS_CONFIG", &file)]).unwrap();
    assert_eq!(of(&config, "a"), (2048, Settle::Background));
    assert_eq!(of(&config, "b"), (1024, Settle::Background));

    let c = format!("{},threshold=8KiB", p.at("c"));
    let config = load(&[("IRIS_CONFIG", &file), ("IRIS_THRESHOLD", "4KiB"), ("IRIS_MOUNT", &c)]).unwrap();
    assert_eq!(of(&config, "a"), (4096, Settle::Background));
    assert_eq!(of(&config, "b"), (4096, Settle::Background));
    assert_eq!(of(&config, "c"), (8192, Settle::Background));

    let mut env = Environment::new();
    env.set("IRIS_CONFIG", &file).set("IRIS_THRESHOLD", "4KiB");
    env.set_by_option("IRIS_THRESHOLD", "16KiB", "--set threshold");
    env.add_mount(p.at("c"));
    let config = Config::load(&env).unwrap();
    assert_eq!(of(&config, "c"), (16384, Settle::Background));
    assert_eq!(config.mount_origins.iter().filter(|o| o.mount == Origin::CommandLine).count(), 1);
    assert!(config.mount_origins.iter().all(|o| o.threshold == Origin::CommandLine));
}

#[test]
fn the_origin_of_each_value_is_told() {
    let p = Place::new(&["data"]);
    let file = p.file(
        "# first line\n[tier0]\nmemory = \"1MiB\"\nflush_after_ms = 250\n\n[mount.data]\nsettle = 'drain'\n",
    );
    let config = load(&[("IRIS_CONFIG", &file), ("IRIS_LOG", "warn")]).unwrap();
    let rows = config.rows();
    let row = |key: &str| {
        let row = rows.iter().find(|r| r.key == key).unwrap_or_else(|| panic!("no row {key} in {rows:#?}"));
        (row.value.as_str(), row.origin.clone())
    };
    assert_eq!(row("tier0.memory"), ("1MiB", format!("{file}:3")));
    assert_eq!(row("tier0.flush_after_ms"), ("250", format!("{file}:4")));
    assert_eq!(row("log"), ("warn", "variable IRIS_LOG".to_string()));
    assert_eq!(row("tier0.storage"), ("0", "default".to_string()));
    let mount = format!("mount.\"{}\"", p.at("data"));
    assert_eq!(row(&mount), ("mounted", format!("{file}:6")));
    assert_eq!(row(&format!("{mount}.settle")), ("drain", format!("{file}:7")));
    assert_eq!(row(&format!("{mount}.threshold")), ("64KiB", "default".to_string()));
}

#[test]
fn an_unknown_key_names_file_line_and_the_nearest() {
    let p = Place::new(&["data"]);
    for (text, line, key, near) in [
        ("treshold = 1\n", 1, "treshold", "threshold"),
        ("\n\n[teir0]\nmemory = 1\n", 3, "teir0", "tier0"),
        ("[tier0]\npath = '/x'\nmemroy = 1\n", 3, "tier0.memroy", "memory"),
        ("tier0.flush-after-ms = 1\n", 1, "tier0.flush-after-ms", "flush_after_ms"),
        ("[mount.data]\n\nconsistancy = 'posix'\n", 3, "consistancy", "consistency"),
        ("[mounts.data]\n", 1, "mounts", "mount"),
    ] {
        let file = p.file(text);
        let m = message(&[("IRIS_CONFIG", &file)]);
        assert!(m.starts_with(&format!("{file}:{line}: unknown key")), "{m}");
        assert!(m.contains(key) && m.contains(&format!("did you mean `{near}`?")), "{m}");
    }
    let file = p.file("[mount.data]\ncolour = 'red'\n");
    let m = message(&[("IRIS_CONFIG", &file)]);
    assert!(m.contains("valid here: threshold, consistency, settle, mapper, store, spill"), "{m}");
}

#[test]
fn the_first_mistake_in_the_file_is_the_one_told() {
    let p = Place::new(&[]);
    let file = p.file("threshold = 'much'\nlog = 'loud'\nconsistency = 'none'\n");
    assert!(message(&[("IRIS_CONFIG", &file)]).starts_with(&format!("{file}:1: bad value `much`")));
}

#[test]
fn a_bad_value_says_what_would_be_right() {
    let p = Place::new(&["data"]);
    for (text, line, words) in [
        ("threshold = \"64Kb ytes\"\n", 1, "a size is a whole number and a unit"),
        ("threshold = 1.5\n", 1, "a size or auto is needed"),
        ("\nconsistency = 'posx'\n", 2, "did you mean posix?"),
        ("settle = true\n", 1, "close, background or drain is needed"),
        ("[tier0]\nflush_after_ms = 0\n", 2, "1 to 86400000"),
        ("[tier0]\nmemory = -1\n", 2, "a size is a whole number"),
        ("[tier0]\npath = 's3://bucket'\n", 2, "an address can only be the home"),
        ("tier0 = 3\n", 1, "a table [tier0] is needed"),
        ("mount = '/data'\n", 1, "[mount.\"/path\"]"),
        ("[mount]\ndata = 3\n", 2, "[mount.\"/path\"]"),
        ("log = 9\n", 1, "off, error, warn, info, debug"),
    ] {
        let file = p.file(text);
        let m = message(&[("IRIS_CONFIG", &file)]);
        assert!(m.starts_with(&format!("{file}:{line}: bad value")) && m.contains(words), "{m}");
    }
    let m = message(&[("IRIS_TIER0_MEMORY", "lots")]);
    assert!(m.starts_with("variable IRIS_TIER0_MEMORY: bad value `lots` for tier0.memory: a size"), "{m}");
}

#[test]
fn broken_toml_is_placed() {
    let p = Place::new(&[]);
    let file = p.file("threshold = 1\nlog = \n");
    let m = message(&[("IRIS_CONFIG", &file)]);
    assert!(m.starts_with(&format!("{file}:2: column ")), "{m}");
    let file = p.file("log = 1\nlog = 2\n");
    let m = message(&[("IRIS_CONFIG", &file)]);
    assert!(m.starts_with(&format!("{file}:2: ")) && m.contains("duplicate"), "{m}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let p = Place::new(&[]);
    let m = message(&[("IRIS_CONFIG", &p.at("none.toml"))]);
    assert!(m.contains(&p.at("none.toml")) && m.contains("IRIS_CONFIG"), "{m}");
    fs::write(p.at("bytes.toml"), [0xff, 0xfe, b'=']).unwrap();
    assert!(message(&[("IRIS_CONFIG", &p.at("bytes.toml"))]).contains("UTF-8"));
}

#[test]
fn a_misspelt_variable_is_an_error_and_a_stranger_is_not() {
    let m = message(&[("IRIS_TRESHOLD", "1")]);
    assert!(m.contains("IRIS_TRESHOLD") && m.contains("did you mean `IRIS_THRESHOLD`?"), "{m}");
    assert!(message(&[("IRIS_TIER0_COLOUR", "1")]).contains("unknown key `IRIS_TIER0_COLOUR`"));
    assert!(message(&[("IRIS_MOUNTS", "/tmp")]).contains("did you mean `IRIS_MOUNT`?"));
    let config = load(&[("IRIS_SERVER_PASSWORD", "x")]).unwrap();
    assert_eq!(config.unknown, ["IRIS_SERVER_PASSWORD"]);
    for name in ["IRIS_LIBRARY", "IRIS_MAPPER_PATH", "IRIS_STORES"] {
        assert!(iris::config::VARIABLES.iter().any(|(known, _)| *known == name));
        assert!(load(&[(name, "/nowhere")]).unwrap().unknown.is_empty(), "{name}");
    }
}

#[test]
fn storage_needs_a_place() {
    let m = message(&[("IRIS_TIER0_STORAGE", "10G")]);
    assert!(m.contains("variable IRIS_TIER0_STORAGE") && m.contains("tier0.storage_path"), "{m}");
    let config = load(&[("IRIS_TIER0_STORAGE", "10G"), ("IRIS_TIER0_STORAGE_PATH", "/scratch/me")]).unwrap();
    assert_eq!(config.tier0.storage, 10 << 30);
    assert_eq!(config.tier0.storage_path.as_deref(), Some(Path::new("/scratch/me")));
    let config = load(&[("IRIS_TIER0_STORAGE_PATH", "/scratch/me")]).unwrap();
    assert_eq!(config.tier0.storage_path, None, "no storage, no path");
}

#[test]
fn disable_wins_over_everything_also_over_mistakes() {
    let config = load(&[("IRIS_DISABLE", "1"), ("IRIS_MOUNT", "/none"), ("IRIS_CONFIG", "/none")]).unwrap();
    assert!(config.disabled && config.mounts.is_empty());
    assert!(!load(&[("IRIS_DISABLE", "0")]).unwrap().disabled);
    assert!(message(&[("IRIS_DISABLE", "maybe")]).contains("1 or 0"));
}

#[test]
fn paths_in_the_file_are_meant_from_its_folder() {
    let p = Place::new(&["conf", "data"]);
    fs::write(p.at("conf/iris.toml"), "report = 'out/report'\n[tier0]\npath = '/abs'\n[mount.'../data']\n")
        .unwrap();
    let config = load(&[("IRIS_CONFIG", &p.at("conf/iris.toml"))]).unwrap();
    assert_eq!(config.report, Some(PathBuf::from(p.at("conf/out/report"))));
    assert_eq!(config.tier0.path, Some(PathBuf::from("/abs")));
    assert_eq!(config.mounts[0].root, p.at("data").as_bytes());
    assert!(!config.relative);
}

#[test]
fn a_relative_variable_is_noticed() {
    let config = load(&[("IRIS_MOUNT", "src"), ("IRIS_REPORT", "report.txt")]).unwrap();
    assert!(config.relative && config.report.as_ref().unwrap().is_absolute());
    assert_eq!(config.mounts[0].root, fs::canonicalize("src").unwrap().as_os_str().as_bytes());
}

#[test]
fn the_default_file_says_the_defaults_and_every_key() {
    let text = default_file();
    let plain = load(&[]).unwrap();
    let config = Config::parse(Path::new("/etc/iris.toml"), &text).unwrap();
    assert_eq!(config.variables(), plain.variables(), "as printed it changes nothing");
    // With every commented setting that has a value switched on it still says the same.
    let on: String = text
        .lines()
        .map(|l| {
            if l.contains("[mount.") {
                "#"
            } else {
                l.strip_prefix('#').filter(|l| l.contains(" = ")).unwrap_or(l)
            }
        })
        .take_while(|l| !l.contains("One table for each"))
        .map(|l| format!("{l}\n"))
        .collect();
    let config = Config::parse(Path::new("/etc/iris.toml"), &on).unwrap();
    for key in &KEYS {
        assert!(text.contains(key.variable), "{}", key.variable);
        assert_eq!(config.text(key.id), plain.text(key.id), "{}", key.name);
        let set = config.origins[key.id as usize] != Origin::Default;
        assert!(set || key.name == "tier0.storage_path", "{} is not in the file", key.name);
    }
}

#[test]
fn the_documentation_names_every_key() {
    let text = include_str!("../docs/configuration.md");
    for key in &KEYS {
        let line = text
            .lines()
            .find(|l| {
                l.starts_with(&format!("| `{}` |", key.name)) && l.contains(&format!("`{}`", key.variable))
            })
            .unwrap_or_else(|| panic!("docs/configuration.md has no line for {}", key.name));
        assert!(key.default.is_empty() || line.contains(&format!("`{}`", key.default)), "{line}");
    }
    for (name, _) in iris::config::VARIABLES {
        assert!(text.contains(&format!("`{name}`")), "{name}");
    }
}

fn settings() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let size = (0u64..=u64::MAX >> 1).prop_map(|n| iris::config::size(&n.to_string()).unwrap().to_string());
    let memory = prop::option::of(size.clone().prop_map(|v| ("IRIS_TIER0_MEMORY", v)));
    let threshold = prop::option::of(size.clone().prop_map(|v| ("IRIS_THRESHOLD", v)));
    let storage = prop::option::of(size.prop_map(|v| ("IRIS_TIER0_STORAGE", v)));
    let path = prop::option::of("/[a-z:,= ]{1,8}[a-z]".prop_map(|v| ("IRIS_REPORT", v)));
    let settle = prop::option::of(
        prop::sample::select(vec!["close", "background", "drain"])
            .prop_map(|v| ("IRIS_SETTLE", v.to_string())),
    );
    let after =
        prop::option::of((1u64..=86_400_000).prop_map(|n| ("IRIS_TIER0_FLUSH_AFTER_MS", n.to_string())));
    let log = prop::option::of((0u8..5).prop_map(|n| ("IRIS_LOG", n.to_string())));
    (memory, threshold, storage, path, settle, after, log).prop_map(|(a, b, c, d, e, f, g)| {
        let place = ("IRIS_TIER0_STORAGE_PATH", "/scratch".to_string());
        [a, b, c, d, e, f, g, Some(place)].into_iter().flatten().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// What `iris run` hands to its children means what it was made from.
    #[test]
    fn variables_load_the_same_configuration(
        set in settings(),
        options in prop::collection::vec(
            (prop::option::of(0u64..1 << 40), prop::option::of(0usize..3), prop::option::of(0usize..3)), 0..4),
    ) {
        let p = Place::new(&[]);
        let mut env = Environment::new();
        for (name, value) in &set {
            env.set(name, value);
        }
        for (i, (threshold, consistency, settle)) in options.iter().enumerate() {
            let dir = p.at(&format!("d{i}:x=,\\"));
            fs::create_dir(&dir).unwrap();
            let mut entry = dir.replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,").replace('=', "\\=");
            if let Some(n) = threshold { entry += &format!(",threshold={n}"); }
            if let Some(n) = consistency { entry += &format!(",consistency={}", Consistency::NAMES[*n].0); }
            if let Some(n) = settle { entry += &format!(",settle={}", Settle::NAMES[*n].0); }
            env.add_mount(entry);
        }
        let first = Config::load(&env).unwrap();
        let mut env = Environment::new();
        for (name, value) in first.variables() {
            if let Some(value) = value {
                env.set(name, std::ffi::OsStr::from_bytes(&value));
            }
        }
        let again = Config::load(&env).unwrap();
        prop_assert_eq!(again.variables(), first.variables());
        prop_assert_eq!(format!("{:?}", again.mounts), format!("{:?}", first.mounts));
        prop_assert_eq!(format!("{:?}", again.tier0), format!("{:?}", first.tier0));
        prop_assert_eq!((again.report, again.log), (first.report, first.log));
    }

    /// No text of a file or a variable makes the loader panic; a refusal always says where.
    #[test]
    fn no_file_panics(text in "(\\[[a-z0-9.\"/]{0,12}\\]\n|[a-z0-9_.\"]{0,12} = [a-z0-9\"'\\[\\]{}=]{0,8}\n|\\PC{0,12}\n){0,8}") {
        if let Err(error) = Config::parse(Path::new("/etc/iris.toml"), &text) {
            prop_assert!(error.to_string().starts_with("/etc/iris.toml:"), "{}", error);
        }
    }

    #[test]
    fn no_variable_panics(value in "\\PC{0,24}", which in 0..KEYS.len()) {
        if value.contains('\0') { return Ok(()); }
        if let Err(error) = load(&[(KEYS[which].variable, &value)]) {
            prop_assert!(error.to_string().contains(KEYS[which].variable), "{}", error);
        }
    }
}
