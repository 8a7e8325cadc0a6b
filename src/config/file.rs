//! The TOML file. Owns its shape (which tables and keys there are) and the lines of what it says; what a value
//! means is the builder's.

use super::error::{ConfigError, Place, Site};
use super::keys::{self, KEYS};
use super::load::{Builder, Layer};
use std::ops::Range;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// The keys and tables that may stand at the top.
const TOP: [&str; 10] =
    ["threshold", "consistency", "settle", "mapper", "store", "spill", "report", "log", "tier0", "mount"];

/// Where the bytes of a mount live, a key of its table only.
const HOME: &str = "home";

/// Reads the file into the builder. `path` is absolute.
pub(super) fn read(builder: &mut Builder, path: &Path) -> Result<(), ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_path_buf(), source })?;
    parse(builder, path, &text)
}

/// Reads the text of the file.
pub(super) fn parse(builder: &mut Builder, path: &Path, text: &str) -> Result<(), ConfigError> {
    let file = File { path, text };
    let table = DeTable::parse(text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        let message = error.message().trim().replace('\n', "; ");
        ConfigError::Syntax {
            place: file.site(span.clone()).place(),
            message: format!("column {}: {message}", file.column(span.start)),
        }
    })?;
    for (key, value) in in_order(table.get_ref()) {
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("tier0", DeValue::Table(tier0)) => file.tier0(builder, tier0)?,
            ("mount", DeValue::Table(mounts)) => file.mounts(builder, mounts)?,
            ("tier0", other) => {
                return Err(file.not_a_table("tier0", "a table [tier0] is needed", other, key));
            }
            ("mount", other) => {
                let why = "a table [mount.\"/path\"] for each directory is needed";
                return Err(file.not_a_table("mount", why, other, key));
            }
            (name, value) => match keys::by_name(name).filter(|k| !k.name.contains('.')) {
                Some(known) => {
                    let text = file.text_of(known.name, value, key)?;
                    builder.set(known, text.as_bytes(), file.site(key.span()), Layer::File)?;
                }
                None => return Err(file.unknown(name, name, TOP.to_vec(), key)),
            },
        }
    }
    Ok(())
}

/// Entries as they stand in the file, so that the first mistake is the one reported.
fn in_order<'t, 'i>(table: &'t DeTable<'i>) -> Vec<(&'t Spanned<DeString<'i>>, &'t Spanned<DeValue<'i>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl<'a> File<'a> {
    fn site(&self, span: Range<usize>) -> Site<'a> {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        let line = 1 + before.iter().filter(|b| **b == b'\n').count() as u32;
        Site::File { path: self.path, line }
    }

    fn place(&self, key: &Spanned<DeString<'_>>) -> Place {
        self.site(key.span()).place()
    }

    fn column(&self, at: usize) -> usize {
        let before = self.text.get(..at).unwrap_or_default();
        1 + before.chars().rev().take_while(|c| *c != '\n').count()
    }

    fn tier0(&self, builder: &mut Builder, table: &DeTable<'_>) -> Result<(), ConfigError> {
        let inside = |name: &'static str| name.strip_prefix("tier0.");
        for (key, value) in in_order(table) {
            let name = key.get_ref().as_ref();
            let Some(known) = KEYS.iter().find(|k| inside(k.name) == Some(name)) else {
                let valid = KEYS.iter().filter_map(|k| inside(k.name)).collect();
                return Err(self.unknown(&format!("tier0.{name}"), name, valid, key));
            };
            let text = self.text_of(known.name, value.get_ref(), key)?;
            builder.set(known, text.as_bytes(), self.site(key.span()), Layer::File)?;
        }
        Ok(())
    }

    fn mounts(&self, builder: &mut Builder, table: &DeTable<'_>) -> Result<(), ConfigError> {
        for (dir, options) in in_order(table) {
            let name = dir.get_ref().as_ref();
            let site = self.site(dir.span());
            let DeValue::Table(options) = options.get_ref() else {
                let why = "a table [mount.\"/path\"] is needed";
                return Err(self.not_a_table(&format!("mount.\"{name}\""), why, options.get_ref(), dir));
            };
            if name.contains("://") {
                let entry = super::home::hidden(name.as_bytes());
                return Err(ConfigError::NoPrefix { place: site.place(), entry });
            }
            let folder = self.path.parent().unwrap_or(Path::new("/"));
            let mount = match options.get(HOME) {
                None => {
                    let root =
                        super::mounts::resolve(folder.join(name).as_os_str().as_encoded_bytes(), site)?;
                    builder.mount(root, site, Layer::File)
                }
                Some(home) => {
                    let DeValue::String(home) = home.get_ref() else {
                        let why = "a string is needed";
                        return Err(self.not_a_table(
                            &format!("mount.\"{name}\".home"),
                            why,
                            home.get_ref(),
                            dir,
                        ));
                    };
                    let found =
                        super::mounts::resolve_virtual(name.as_bytes(), home.as_bytes(), Some(folder), site)?;
                    builder.virtual_mount(found, site, Layer::File)
                }
            };
            for (key, value) in in_order(options) {
                let word = key.get_ref().as_ref();
                if word == HOME {
                    continue;
                }
                let Some(known) = keys::by_name(word).filter(|k| k.is_per_mount()) else {
                    let valid =
                        KEYS.iter().filter(|k| k.is_per_mount()).map(|k| k.name).chain([HOME]).collect();
                    return Err(self.unknown(&format!("mount.\"{name}\".{word}"), word, valid, key));
                };
                let text = self.text_of(known.name, value.get_ref(), key)?;
                builder.set_mount(mount, known, &text, self.site(key.span()), Layer::File)?;
            }
        }
        Ok(())
    }

    /// A value as the text that a variable would have.
    fn text_of(
        &self,
        name: &str,
        value: &DeValue<'_>,
        key: &Spanned<DeString<'_>>,
    ) -> Result<String, ConfigError> {
        match value {
            DeValue::String(text) => Ok(text.to_string()),
            DeValue::Integer(n) if n.radix() == 10 => Ok(n.as_str().to_string()),
            DeValue::Integer(n) => Ok(i64::from_str_radix(n.as_str(), n.radix())
                .map_or_else(|_| n.as_str().to_string(), |n| n.to_string())),
            other => Err(ConfigError::BadValue {
                place: self.place(key),
                key: name.to_string(),
                value: kind(other).to_string(),
                why: format!("{} is needed", keys::by_name(name).map_or("a string", |k| k.values)),
            }),
        }
    }

    fn not_a_table(
        &self,
        name: &str,
        why: &str,
        value: &DeValue<'_>,
        key: &Spanned<DeString<'_>>,
    ) -> ConfigError {
        ConfigError::BadValue {
            place: self.place(key),
            key: name.to_string(),
            value: kind(value).to_string(),
            why: why.to_string(),
        }
    }

    fn unknown(
        &self,
        shown: &str,
        word: &str,
        valid: Vec<&'static str>,
        key: &Spanned<DeString<'_>>,
    ) -> ConfigError {
        ConfigError::UnknownKey {
            place: self.place(key),
            key: shown.to_string(),
            nearest: keys::nearest(word, valid.iter().copied()).map(str::to_string),
            valid: valid.join(", "),
        }
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
