//! The options that set the configuration, the same for every subcommand. Owns the way from options to an
//! [`Environment`].

use super::say::Failure;
use clap::Args;
use iris::config::{self, Config, Environment};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Options that win over the variables and the file.
#[derive(Args, Debug, Default)]
pub struct Settings {
    /// Accelerate this directory, with options of its own if need be: DIR[,KEY=VALUE]...
    #[arg(long, value_name = "DIR")]
    mount: Vec<OsString>,
    /// Set a key of the configuration, such as tier0.memory=1GiB
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<OsString>,
    /// Read this TOML file in place of the one that IRIS_CONFIG names
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Settings {
    /// The variables of this process, with the options over them.
    pub fn environment(&self) -> Result<Environment, Failure> {
        let mut env = Environment::process();
        if let Some(file) = &self.config {
            env.set_by_option(config::CONFIG, file, "--config");
        }
        for setting in &self.set {
            let bytes = setting.as_bytes();
            let Some(eq) = bytes.iter().position(|b| *b == b'=') else {
                let text = setting.to_string_lossy();
                return Err(Failure::new(2, format!("command line, --set {text}: KEY=VALUE is needed")));
            };
            let name = String::from_utf8_lossy(&bytes[..eq]).into_owned();
            let value = std::ffi::OsStr::from_bytes(&bytes[eq + 1..]);
            let Some(key) = config::by_name(&name).or_else(|| config::by_variable(&name)) else {
                return Err(unknown(&name));
            };
            env.set_by_option(key.variable, value, &format!("--set {}", key.name));
        }
        for entry in &self.mount {
            env.add_mount(entry);
        }
        Ok(env)
    }

    /// The configuration in force.
    pub fn load(&self) -> Result<Config, Failure> {
        Ok(Config::load(&self.environment()?)?)
    }
}

fn unknown(name: &str) -> Failure {
    let hint = if name == "mount" || name == "IRIS_MOUNT" {
        "use --mount DIR".to_string()
    } else {
        let names = || config::KEYS.iter().map(|k| k.name);
        match config::nearest(name, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("valid here: {}", names().collect::<Vec<_>>().join(", ")),
        }
    };
    Failure::new(2, format!("command line, --set {name}: unknown key `{name}`; {hint}"))
}
