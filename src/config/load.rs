//! From text to [`Config`]: the layers (file, variables, command line), which of them wins, and where each value
//! came from. Reads the environment it is given, the file, and the names of directories; nothing else.

use super::error::{ConfigError, Site};
use super::keys::{self, Id, KEYS, Key};
use super::{
    Config, Consistency, Environment, Home, Mount, MountOrigins, Options, Origin, Scheme, Settle, Spill,
};
use super::{file, mounts, value};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Which layer a setting belongs to; the later one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer {
    File,
    Environment,
}

/// What one layer says about mounts.
#[derive(Clone, Copy, Debug, Default)]
struct Wish {
    threshold: Option<(u64, Origin)>,
    consistency: Option<(Consistency, Origin)>,
    settle: Option<(Settle, Origin)>,
    mapper: Option<(&'static str, Origin)>,
    store: Option<(Option<&'static Home>, Origin)>,
    spill: Option<(Spill, Origin)>,
}

impl Wish {
    fn set(&mut self, key: &Key, text: &str, origin: Origin, from: Option<&Path>) -> Result<(), String> {
        match key.id {
            Id::Threshold => self.threshold = Some((value::threshold(text)?, origin)),
            Id::Consistency => {
                self.consistency = Some((value::choice(text, &Consistency::NAMES)?, origin));
            }
            Id::Settle => self.settle = Some((value::choice(text, &Settle::NAMES)?, origin)),
            Id::Mapper => self.mapper = Some((value::mapper(text)?, origin)),
            Id::Store => self.store = Some((value::store(text, from)?, origin)),
            Id::Spill => self.spill = Some((value::choice(text, &Spill::NAMES)?, origin)),
            _ => return Err(format!("{} is not a setting of a mount", key.name)),
        }
        Ok(())
    }

    /// This wish where it says something, else the other.
    fn or(self, other: Wish) -> Wish {
        Wish {
            threshold: self.threshold.or(other.threshold),
            consistency: self.consistency.or(other.consistency),
            settle: self.settle.or(other.settle),
            mapper: self.mapper.or(other.mapper),
            store: self.store.or(other.store),
            spill: self.spill.or(other.spill),
        }
    }
}

struct Draft {
    root: Vec<u8>,
    /// Anchors, where they are known yet, and home of a virtual mount.
    behind: Option<(Option<Vec<u8>>, Home)>,
    /// Where it was written.
    place: super::Place,
    origin: Origin,
    file: Wish,
    environment: Wish,
}

/// A configuration in the making.
#[derive(Default)]
pub(super) struct Builder {
    config: Config,
    drafts: Vec<Draft>,
    file: Wish,
    environment: Wish,
    /// Where `tier0.storage` was set, for the one rule that joins two keys.
    storage_place: Option<super::Place>,
}

impl Config {
    /// What is in force, from the variables (and options) in `env` and the file that they name.
    ///
    /// Without `IRIS_CONFIG` no file is read: the cost is that of resolving the names of the mounts.
    pub fn load(env: &Environment) -> Result<Config, ConfigError> {
        if let Some(v) = env.get(keys::DISABLE) {
            let text = String::from_utf8_lossy(&v.value);
            let site = site_of(v);
            if value::switch(&text).map_err(|why| bad(site, keys::DISABLE, &text, why))? {
                // Before all else: a broken configuration must not keep anyone from switching it off.
                return Ok(Config { disabled: true, ..Config::default() });
            }
        }
        let mut builder = Builder::default();
        if let Some(v) = env.get(keys::CONFIG) {
            let path = Path::new(OsStr::from_bytes(&v.value));
            let path = absolute(path, &mut builder.config.relative)
                .map_err(|source| ConfigError::Unreadable { path: path.to_path_buf(), source })?;
            file::read(&mut builder, &path)?;
            builder.config.file = Some(path);
        }
        for v in env.variables() {
            let site = site_of(v);
            match v.name.as_str() {
                keys::MOUNT => {
                    for text in mounts::split(&v.value) {
                        builder.mount_entry(text, site)?;
                    }
                }
                // Read where they matter.
                name if keys::VARIABLES.iter().any(|(known, _)| *known == name) => {}
                name => match keys::by_variable(name) {
                    Some(key) => builder.set(key, &v.value, site, Layer::Environment)?,
                    None => builder.unknown_variable(name, site)?,
                },
            }
        }
        for text in env.mounts() {
            builder.mount_entry_unsplit(text)?;
        }
        builder.finish()
    }

    /// As [`Config::load`], with the text of the file given, and no variables.
    pub fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
        let mut builder = Builder::default();
        file::parse(&mut builder, path, text)?;
        builder.config.file = Some(path.to_path_buf());
        builder.finish()
    }
}

fn site_of(v: &super::Variable) -> Site<'_> {
    match &v.option {
        Some(option) => Site::CommandLine(option),
        None => Site::Variable(&v.name),
    }
}

fn bad(site: Site<'_>, key: &str, value: &str, why: String) -> ConfigError {
    ConfigError::BadValue { place: site.place(), key: key.to_string(), value: value.to_string(), why }
}

/// An absolute path, without looking at it; says so when that depended on the current directory.
fn absolute(path: &Path, relative: &mut bool) -> std::io::Result<PathBuf> {
    *relative |= path.is_relative();
    std::path::absolute(path)
}

impl Builder {
    /// One key of the file's top or of [tier0], or one variable.
    pub(super) fn set(
        &mut self,
        key: &'static Key,
        bytes: &[u8],
        site: Site<'_>,
        layer: Layer,
    ) -> Result<(), ConfigError> {
        let text = String::from_utf8_lossy(bytes);
        let origin = origin(site, key.variable);
        let fail = |why| bad(site, key.name, &shown(key, &text), why);
        let config = &mut self.config;
        match key.id {
            Id::Threshold | Id::Consistency | Id::Settle | Id::Mapper | Id::Store | Id::Spill => {
                config.relative |= key.id == Id::Store && is_relative(&text);
                let wish = if layer == Layer::File { &mut self.file } else { &mut self.environment };
                return wish.set(key, &text, origin, folder(site)).map_err(fail);
            }
            Id::Tier0Memory => config.tier0.memory = value::size(&text).map_err(fail)?,
            Id::Tier0Storage => {
                config.tier0.storage = value::size(&text).map_err(fail)?;
                self.storage_place = Some(site.place());
            }
            Id::Tier0Anchors => config.tier0.anchors = value::size(&text).map_err(fail)?,
            Id::Tier0WarmUp => config.tier0.warm_up = value::count(&text).map_err(fail)?,
            Id::Tier0FlushAfterMs => {
                config.tier0.flush_after_ms = value::milliseconds(&text).map_err(fail)?
            }
            Id::Tier0Path => config.tier0.path = path(bytes, site, &mut config.relative).map_err(fail)?,
            Id::Tier0StoragePath => {
                config.tier0.storage_path = path(bytes, site, &mut config.relative).map_err(fail)?;
            }
            Id::Report => config.report = path(bytes, site, &mut config.relative).map_err(fail)?,
            Id::Log => config.log = value::level(&text).map_err(fail)?,
        }
        config.origins[key.id as usize] = origin;
        Ok(())
    }

    /// The draft of a mount, new or known already.
    pub(super) fn mount(&mut self, root: Vec<u8>, site: Site<'_>, layer: Layer) -> usize {
        let origin = origin(site, keys::MOUNT);
        if let Some(i) = self.drafts.iter().position(|d| d.root == root) {
            if layer == Layer::Environment {
                self.drafts[i].origin = origin;
            }
            return i;
        }
        let (file, environment) = Default::default();
        self.drafts.push(Draft { root, behind: None, place: site.place(), origin, file, environment });
        self.drafts.len() - 1
    }

    /// The draft of a virtual mount; a home that a later layer gives replaces an earlier one.
    pub(super) fn virtual_mount(&mut self, mount: mounts::Virtual, site: Site<'_>, layer: Layer) -> usize {
        let mounts::Virtual { root, shadow, home } = mount;
        let plain = shadow.as_ref() == Some(&root);
        let index = self.mount(root, site, layer);
        self.drafts[index].behind = (!plain).then_some((shadow, home));
        index
    }

    /// One option of a mount.
    pub(super) fn set_mount(
        &mut self,
        mount: usize,
        key: &Key,
        text: &str,
        site: Site<'_>,
        layer: Layer,
    ) -> Result<(), ConfigError> {
        self.config.relative |= key.id == Id::Store && is_relative(text);
        let draft = &mut self.drafts[mount];
        let wish = if layer == Layer::File { &mut draft.file } else { &mut draft.environment };
        wish.set(key, text, origin(site, keys::MOUNT), folder(site))
            .map_err(|why| bad(site, key.name, &shown(key, text), why))
    }

    fn mount_entry(&mut self, text: &[u8], site: Site<'_>) -> Result<(), ConfigError> {
        let entry = mounts::entry(text, site)?;
        self.config.relative |= !entry.dir.starts_with(b"/");
        let mount = match &entry.home {
            None => {
                let root = mounts::resolve(&entry.dir, site)?;
                self.mount(root, site, Layer::Environment)
            }
            Some(home) => {
                let found = mounts::resolve_virtual(&entry.dir, home, None, site)?;
                self.config.relative |= found.home.text != *home;
                self.virtual_mount(found, site, Layer::Environment)
            }
        };
        for (word, text) in &entry.options {
            let per_mount = || KEYS.iter().filter(|k| k.is_per_mount()).map(|k| k.name);
            let Some(key) = keys::by_name(word).filter(|k| k.is_per_mount()) else {
                return Err(ConfigError::UnknownKey {
                    place: site.place(),
                    key: word.clone(),
                    nearest: keys::nearest(word, per_mount()).map(str::to_string),
                    valid: per_mount().collect::<Vec<_>>().join(", "),
                });
            };
            self.set_mount(mount, key, text, site, Layer::Environment)?;
        }
        Ok(())
    }

    /// An entry of the command line: one shell word names one directory, so its colons are its own.
    fn mount_entry_unsplit(&mut self, text: &[u8]) -> Result<(), ConfigError> {
        self.mount_entry(text, Site::CommandLine("--mount"))
    }

    /// Other software may have variables with our prefix, so only one that must be a misspelling is an error;
    /// the others are kept for the command to warn about.
    fn unknown_variable(&mut self, name: &str, site: Site<'_>) -> Result<(), ConfigError> {
        let known = || KEYS.iter().map(|k| k.variable).chain(keys::VARIABLES.iter().map(|(name, _)| *name));
        let nearest = keys::nearest(name, known());
        let misspelt = nearest.is_some_and(|near| {
            keys::distance(name, near) <= (name.len().saturating_sub("IRIS_".len()) / 3).min(2)
        });
        if misspelt || name.starts_with("IRIS_TIER0_") {
            return Err(ConfigError::UnknownKey {
                place: site.place(),
                key: name.to_string(),
                nearest: nearest.map(str::to_string),
                valid: known().collect::<Vec<_>>().join(", "),
            });
        }
        self.config.unknown.push(name.to_string());
        Ok(())
    }

    /// Joins the layers.
    fn finish(self) -> Result<Config, ConfigError> {
        let Builder { mut config, mut drafts, file, environment, storage_place } = self;
        if config.tier0.storage > 0 && config.tier0.storage_path.is_none() {
            let place = storage_place.unwrap_or(super::Place::Variable("IRIS_TIER0_STORAGE".into()));
            return Err(ConfigError::Conflict {
                place,
                why: "tier0.storage is set, but tier0.storage_path (IRIS_TIER0_STORAGE_PATH) does not say where"
                    .into(),
            });
        }
        let storage = config.tier0.storage_path.clone();
        let mut addresses = false;
        for draft in &mut drafts {
            if let Some((shadow @ None, home)) = &mut draft.behind {
                *shadow = Some(mounts::anchors_of(home, storage.as_deref(), &draft.place)?);
                addresses = true;
            }
        }
        if config.tier0.storage == 0 && !addresses && config.tier0.storage_path.take().is_some() {
            config.origins[Id::Tier0StoragePath as usize] = Origin::Default;
        }
        let base = Options::default();
        let all = environment.or(file);
        config.defaults = options(all, base);
        for (id, origin) in [
            (Id::Threshold, all.threshold.map(|w| w.1)),
            (Id::Consistency, all.consistency.map(|w| w.1)),
            (Id::Settle, all.settle.map(|w| w.1)),
            (Id::Mapper, all.mapper.map(|w| w.1)),
            (Id::Store, all.store.map(|w| w.1)),
            (Id::Spill, all.spill.map(|w| w.1)),
        ] {
            config.origins[id as usize] = origin.unwrap_or_default();
        }
        // Longest first, so that the first match is the nearest; the rest of the order only has to be fixed.
        let directory =
            |d: &Draft| d.behind.as_ref().and_then(|(shadow, _)| shadow.as_ref()).unwrap_or(&d.root).len();
        drafts.sort_by(|a, b| directory(b).cmp(&directory(a)).then_with(|| a.root.cmp(&b.root)));
        for draft in drafts {
            let wish = draft.environment.or(environment).or(draft.file).or(file);
            let Options { threshold, consistency, settle, mapper, store, spill } = options(wish, base);
            let (shadow, home) = draft.behind.unzip();
            let is_directory = home.as_ref().is_none_or(|h: &Home| h.scheme == Scheme::File);
            if !is_directory && draft.environment.store.or(draft.file.store).is_some_and(|(s, _)| s.is_some())
            {
                let why = format!(
                    "mount {}: `store` is for mounts that are directories; the files of this one end in a store anyway",
                    String::from_utf8_lossy(&draft.root)
                );
                return Err(ConfigError::Conflict { place: draft.place, why });
            }
            let store = store.filter(|_| is_directory);
            let shadow = shadow.flatten();
            config.mounts.push(Mount {
                root: draft.root,
                shadow,
                home,
                threshold,
                consistency,
                settle,
                mapper,
                store,
                spill,
            });
            config.mount_origins.push(MountOrigins {
                mount: draft.origin,
                threshold: wish.threshold.map(|w| w.1).unwrap_or_default(),
                consistency: wish.consistency.map(|w| w.1).unwrap_or_default(),
                settle: wish.settle.map(|w| w.1).unwrap_or_default(),
                mapper: wish.mapper.map(|w| w.1).unwrap_or_default(),
                store: wish.store.map(|w| w.1).unwrap_or_default(),
                spill: wish.spill.map(|w| w.1).unwrap_or_default(),
            });
        }
        Ok(config)
    }
}

fn options(wish: Wish, base: Options) -> Options {
    Options {
        threshold: wish.threshold.map_or(base.threshold, |w| w.0),
        consistency: wish.consistency.map_or(base.consistency, |w| w.0),
        settle: wish.settle.map_or(base.settle, |w| w.0),
        mapper: wish.mapper.map_or(base.mapper, |w| w.0),
        store: wish.store.map_or(base.store, |w| w.0),
        spill: wish.spill.map_or(base.spill, |w| w.0),
    }
}

/// Whether a store is in a directory whose name depends on the working directory.
fn is_relative(store: &str) -> bool {
    store.trim().strip_prefix("kv:").is_some_and(|dir| !dir.starts_with('/'))
}

/// A value as an error may show it.
fn shown(key: &Key, text: &str) -> String {
    if key.id == Id::Store { super::home::hidden(text.as_bytes()) } else { text.to_owned() }
}

/// The folder that relative names of a file are meant from.
fn folder(site: Site<'_>) -> Option<&Path> {
    match site {
        Site::File { path, .. } => path.parent(),
        _ => None,
    }
}

fn origin(site: Site<'_>, variable: &'static str) -> Origin {
    match site {
        Site::File { line, .. } => Origin::File(line),
        Site::Variable(_) => Origin::Variable(variable),
        Site::CommandLine(_) => Origin::CommandLine,
    }
}

/// A path: relative ones in the file are meant from the file's folder, others from the current directory. An
/// empty one (`--set report=`) takes back what another layer said.
fn path(bytes: &[u8], site: Site<'_>, relative: &mut bool) -> Result<Option<PathBuf>, String> {
    let path = Path::new(OsStr::from_bytes(bytes));
    if bytes.is_empty() {
        return Ok(None);
    }
    if bytes.windows(3).any(|w| w == b"://") {
        return Err("a path is needed; an address can only be the home of a mount".into());
    }
    if bytes.contains(&0) {
        return Err("a path cannot hold a zero byte".into());
    }
    match site {
        Site::File { path: file, .. } => Ok(Some(file.parent().unwrap_or(Path::new("/")).join(path))),
        _ => absolute(path, relative).map(Some).map_err(|e| format!("the current directory is gone ({e})")),
    }
}
