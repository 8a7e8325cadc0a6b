//! From the configuration to homes: which virtual mount keeps its bytes in which store, and where its anchors and their
//! control files lie. Owns that; opens no store (a home does, on first need).

use crate::config::{Config, Mount, Scheme};
use crate::home::layout::Layout;
use crate::home::{self, Home, Opener};
use crate::{log, stores, sys};
use iris_store::Address;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Makes the homes of the mounts those of this process. Before anything is opened.
pub fn install(config: &Config) {
    let homes: Vec<Home> = config.mounts.iter().filter_map(|m| of_mount(m, config.tier0.anchors)).collect();
    if !homes.is_empty() {
        home::install(homes);
    }
}

/// The home of a mount, if it is a store.
fn of_mount(mount: &Mount, room: u64) -> Option<Home> {
    let (home, tree) = (mount.home.as_ref()?, mount.shadow.as_ref()?);
    // Anchors lie in a folder beside their control files, and beside the objects where the store is a directory.
    let directory = Path::new(OsStr::from_bytes(tree)).parent()?.to_owned();
    let controls = directory.join("control").as_os_str().as_bytes().to_vec();
    let made = |layout, opener| Home::new(tree.clone(), controls.clone(), layout, room, opener);
    let mapper = mount.mapper.to_owned();
    match home.scheme {
        Scheme::File => None,
        Scheme::Kv => {
            let layout = Layout::Mapped { prefix: Vec::new(), mapper };
            Some(made(layout, stores::embedded(home.to_string(), directory)))
        }
        Scheme::Redis => {
            let (address, name) = match home.address() {
                Ok(known) => known?,
                // The configuration was refused then.
                Err(why) => {
                    log::say(1, || why);
                    return None;
                }
            };
            let layout = Layout::Mapped { prefix: format!("iris:1:{name}:").into_bytes(), mapper };
            Some(made(layout, Box::new(move || stores::open(&address))).with_names(&name))
        }
        Scheme::S3 => {
            let address = match home.address() {
                Ok(known) => known?.0,
                Err(why) => {
                    log::say(1, || why);
                    return None;
                }
            };
            let layout = Layout::Whole { prefix: Vec::new() };
            Some(made(layout, bucket(address, directory.join("control"))).with_keys())
        }
    }
}

/// Opens a bucket. Whether its server keeps the conditions of puts is found out once for the node, and noted in `folder`:
/// asking costs ten requests, and puts objects.
fn bucket(address: Address, folder: PathBuf) -> Opener {
    const OPTION: &str = "conditional";
    Box::new(move || {
        let (mut address, note) = (address.clone(), folder.join(OPTION));
        let told = address.options.get(OPTION).is_some_and(|value| value != "auto");
        let noted = std::fs::read_to_string(&note).ok().filter(|n| matches!(n.as_str(), "yes" | "no"));
        if !told && let Some(noted) = &noted {
            address.options.insert(OPTION.to_owned(), noted.clone());
        }
        let store = stores::open(&address)?;
        if !told && noted.is_none() {
            store.check()?;
            let kept = if store.capabilities().put_if_match { "yes" } else { "no" };
            let kept = sys::c_path(&note).and_then(|note| sys::write_small(&note, kept.as_bytes()));
            if let Err(e) = kept {
                // The next process asks again.
                log::say(2, || format!("{}: {e}", note.display()));
            }
        }
        Ok(store)
    })
}
