//! Running `scripts/install` as a site does, with the library and the command under test.

use crate::support::build;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `scripts/install --prefix PREFIX`, without what the environment says of Iris or of a stage..
pub fn script(prefix: &Path) -> Command {
    let mut command = Command::new(build::root().join("scripts/install"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("IRIS_") {
            command.env_remove(name);
        }
    }
    command.env_remove("DESTDIR").env_remove("LD_PRELOAD").arg("--prefix").arg(prefix);
    command
}

/// A folder with the library and the command under test, as a build leaves them; made below `at`.
pub fn built(at: &Path) -> PathBuf {
    let folder = at.join("built");
    std::fs::create_dir_all(&folder).expect("make a folder");
    let command = std::env::var_os("IRIS_TEST_COMMAND").unwrap_or_else(|| env!("CARGO_BIN_EXE_iris").into());
    for (file, name) in [(build::libiris(), "libiris.so"), (command.into(), "iris")] {
        let link = folder.join(name);
        if std::fs::read_link(&link).ok().as_ref() != Some(&file) {
            let _ = std::fs::remove_file(&link);
            symlink(&file, &link).expect("link to what was built");
        }
    }
    folder
}

/// Runs it; what it printed, in both streams.
pub fn run(command: &mut Command) -> (bool, String) {
    let output = command.output().expect("run scripts/install");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}
