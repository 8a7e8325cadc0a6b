//! The configuration as text again: rows for `iris config`, the commented file of its `--default`, and the
//! variables from which another process loads the same. Owns no values.

use super::keys::{self, Id, KEYS};
use super::{Config, Mount, Origin, mounts, value};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// One value in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// `tier0.memory`, `mount."/data".threshold` …
    pub key: String,
    /// The value, as it could be written.
    pub value: String,
    /// Where it came from: `default`, `/etc/iris.toml:3`, `variable IRIS_LOG`, `command line`.
    pub origin: String,
}

impl Config {
    /// An origin in words.
    pub fn origin(&self, origin: Origin) -> String {
        match (origin, &self.file) {
            (Origin::Default, _) => "default".into(),
            (Origin::File(line), Some(file)) => format!("{}:{line}", file.display()),
            (Origin::File(line), None) => format!("line {line}"),
            (Origin::Variable(name), _) => format!("variable {name}"),
            (Origin::CommandLine, _) => "command line".into(),
        }
    }

    /// The value of a key as text; empty when it has none.
    pub fn text(&self, id: Id) -> String {
        let path =
            |p: &Option<std::path::PathBuf>| p.as_ref().map_or(String::new(), |p| p.display().to_string());
        match id {
            Id::Threshold => value::show_threshold(self.defaults.threshold),
            Id::Consistency => self.defaults.consistency.name().into(),
            Id::Settle => self.defaults.settle.name().into(),
            Id::Mapper => self.defaults.mapper.into(),
            Id::Store => self.defaults.store.map_or(String::new(), ToString::to_string),
            Id::Spill => self.defaults.spill.name().into(),
            Id::Tier0Path => path(&self.tier0.path),
            Id::Tier0Memory => value::show_size(self.tier0.memory),
            Id::Tier0StoragePath => path(&self.tier0.storage_path),
            Id::Tier0Storage => value::show_size(self.tier0.storage),
            Id::Tier0Anchors => value::show_size(self.tier0.anchors),
            Id::Tier0FlushAfterMs => self.tier0.flush_after_ms.to_string(),
            Id::Tier0WarmUp => self.tier0.warm_up.to_string(),
            Id::Report => path(&self.report),
            Id::Log => value::LEVELS.get(self.log as usize).copied().unwrap_or("debug").into(),
        }
    }

    /// Every value in force: the keys first, then the settings of each mount.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = KEYS
            .iter()
            .map(|key| Row {
                key: key.name.into(),
                value: self.text(key.id),
                origin: self.origin(self.origins[key.id as usize]),
            })
            .collect();
        for (mount, from) in self.mounts.iter().zip(&self.mount_origins) {
            let name = format!("mount.\"{}\"", String::from_utf8_lossy(&mount.root));
            for (key, text, origin) in [
                ("", mount.home.as_ref().map_or("mounted".into(), |h| format!("mounted on {h}")), from.mount),
                (".threshold", value::show_threshold(mount.threshold), from.threshold),
                (".consistency", mount.consistency.name().into(), from.consistency),
                (".settle", mount.settle.name().into(), from.settle),
                (".mapper", mount.mapper.into(), from.mapper),
                (".store", mount.store.map_or(String::new(), ToString::to_string), from.store),
                (".spill", mount.spill.name().into(), from.spill),
            ] {
                rows.push(Row { key: format!("{name}{key}"), value: text, origin: self.origin(origin) });
            }
        }
        rows
    }

    /// The variables from which another process, in any directory and without the file, loads this same
    /// configuration. `None` is a variable that must not be set.
    pub fn variables(&self) -> Vec<(&'static str, Option<Vec<u8>>)> {
        let mut all: Vec<(&'static str, Option<Vec<u8>>)> =
            vec![(keys::CONFIG, None), (keys::DISABLE, self.disabled.then(|| b"1".to_vec()))];
        let mut mounts = Vec::new();
        for mount in &self.mounts {
            if !mounts.is_empty() {
                mounts.push(b':');
            }
            push_mount(&mut mounts, mount, self);
        }
        all.push((keys::MOUNT, Some(mounts).filter(|m| !m.is_empty())));
        let bytes = |p: &Path| p.as_os_str().as_bytes().to_vec();
        let plain = Config::default();
        for key in &KEYS {
            let value = match key.id {
                Id::Tier0Path => self.tier0.path.as_deref().map(bytes),
                Id::Tier0StoragePath => self.tier0.storage_path.as_deref().map(bytes),
                Id::Report => self.report.as_deref().map(bytes),
                // As it was given: what is shown hides passwords.
                Id::Store => self.defaults.store.map(|home| home.text.clone()),
                id => Some(self.text(id)).filter(|t| *t != plain.text(id)).map(String::into_bytes),
            };
            all.push((key.variable, value));
        }
        all
    }
}

/// One entry of `IRIS_MOUNT`, with the options that the mount does not have anyway.
fn push_mount(out: &mut Vec<u8>, mount: &Mount, config: &Config) {
    mounts::push_escaped(out, &mount.root);
    if let Some(home) = &mount.home {
        out.push(b'=');
        mounts::push_escaped_home(out, &home.text);
    }
    let d = &config.defaults;
    if mount.threshold != d.threshold {
        out.extend_from_slice(format!(",threshold={}", value::show_threshold(mount.threshold)).as_bytes());
    }
    if mount.consistency != d.consistency {
        out.extend_from_slice(format!(",consistency={}", mount.consistency.name()).as_bytes());
    }
    if mount.settle != d.settle {
        out.extend_from_slice(format!(",settle={}", mount.settle.name()).as_bytes());
    }
    if mount.mapper != d.mapper {
        out.extend_from_slice(b",mapper=");
        mounts::push_escaped(out, mount.mapper.as_bytes());
    }
    if mount.store != d.store {
        out.extend_from_slice(b",store=");
        if let Some(home) = mount.store {
            mounts::push_escaped_home(out, &home.text);
        }
    }
    if mount.spill != d.spill {
        out.extend_from_slice(format!(",spill={}", mount.spill.name()).as_bytes());
    }
}

/// A file with every key at its default, commented out, and what each does.
pub fn default_file() -> String {
    let mut text = String::from(
        "# Configuration of Iris; IRIS_CONFIG names this file. Every line that is commented out shows a default.\n\
         # A variable (in brackets) wins over this file, and an option of the command `iris` over both.\n\
         # Sizes: 65536, 64KiB, 1MiB, 10G (powers of 1024), 1MB (of 1000). Paths are meant from this folder.\n",
    );
    let write = |text: &mut String, key: &keys::Key, name: &str| {
        text.push('\n');
        for line in wrap(&format!("{} [{}]", key.meaning, key.variable), 100) {
            text.push_str("# ");
            text.push_str(&line);
            text.push('\n');
        }
        let number = key.default.parse::<u64>().is_ok();
        let value = if number { key.default.to_string() } else { format!("\"{}\"", key.default) };
        let comment = if key.default.is_empty() { format!("  # {}", key.values) } else { String::new() };
        text.push_str(&format!("#{name} = {value}{comment}\n"));
    };
    for key in KEYS.iter().filter(|k| !k.name.contains('.')) {
        write(&mut text, key, key.name);
    }
    text.push_str("\n[tier0]\n");
    for key in &KEYS {
        if let Some(name) = key.name.strip_prefix("tier0.") {
            write(&mut text, key, name);
        }
    }
    text.push_str(
        "\n# One table for each directory to accelerate; what it does not say comes from the keys at the top.\n\
         # [IRIS_MOUNT=/data,threshold=64KiB:/other]\n\
         #[mount.\"/data\"]\n#threshold = \"64KiB\"\n#consistency = \"posix\"\n#settle = \"close\"\n#mapper = \"balanced:bucket=1MiB\"\n\
         \n# A table with a home is a prefix of names that need not exist. [IRIS_MOUNT=/virt=kv:/scratch/store]\n\
         #[mount.\"/virt\"]\n#home = \"kv:/scratch/store\"\n",
    );
    text
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        if !lines[last].is_empty() && lines[last].len() + 1 + word.len() > width {
            lines.push(word.to_string());
        } else {
            if !lines[last].is_empty() {
                lines[last].push(' ');
            }
            lines[last].push_str(word);
        }
    }
    lines
}
