//! The check of a server: whether it lets us in, and whether its settings keep what it acknowledges. Owns the warnings.

use crate::failure::Trouble;
use crate::job::{Job, What, Whom};
use crate::redis::Redis;
use crate::wire::Answer;
use iris_store::{Kind, Result};
use std::sync::atomic::Ordering;
use std::time::Instant;

const WARNING: u8 = 1;
const NOTE: u8 = 2;

impl Redis {
    /// Every server answers; the first time its settings are looked at as well.
    pub fn check_servers(&self) -> Result<()> {
        let begun = Instant::now();
        let config = &self.exchange.common.config;
        let masters = self.exchange.masters()?;
        let first = !self.exchange.processes.get().looked.load(Ordering::Relaxed);
        let commands: &[&[&[u8]]] = if first {
            &[&[b"PING"], &[b"INFO"], &[b"CONFIG", b"GET", b"appendfsync"]]
        } else {
            &[&[b"PING"]]
        };
        let mut jobs = Vec::new();
        for master in &masters {
            for words in commands {
                jobs.push(Job::new(What::Words(words), b"", Whom::Node(master.clone()), true));
            }
        }
        // Less patience than requests have: whoever checks wants to know now.
        self.exchange.carry_out(&mut jobs, config.connect.max(config.answer));
        for (job, master) in jobs.chunks(commands.len()).zip(&masters) {
            if let Some(Err(trouble)) = &job[0].result {
                return Err(self.exchange.error(trouble.clone(), b"", job[0].attempts, begun));
            }
            if let [_, info, sync] = job {
                self.look_at(&master.to_string(), info, sync, begun)?;
            }
        }
        self.exchange.processes.get().looked.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Warns of settings under which what was acknowledged is not kept. A server that does not tell them to this user
    /// is not complained about, except where the address promises what only they can show.
    fn look_at(&self, node: &str, info: &Job<'_>, sync: &Job<'_>, begun: Instant) -> Result<()> {
        let common = &self.exchange.common;
        let warn = |level, text: String| {
            (common.host.log)(level, &format!("{}: {node}: {text}", common.config.place))
        };
        let invalid =
            |text: String| Err(self.exchange.error(Trouble::new(Kind::Invalid, text), b"", 1, begun));
        let Some(Ok(Answer::Bytes(info))) = &info.result else {
            warn(NOTE, "INFO is not allowed to this user: settings not looked at".into());
            if common.config.durable {
                return invalid(format!("{node}: durable=yes, but this user may not ask INFO to verify it"));
            }
            return Ok(());
        };
        let info = String::from_utf8_lossy(info);
        let field = |name: &str| {
            info.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':')).unwrap_or("").trim().to_owned()
        };
        let version = field("redis_version");
        if version.split('.').next().and_then(|v| v.parse::<u32>().ok()).is_some_and(|v| v < 6) {
            return invalid(format!("{node}: this is Redis {version}; Iris needs 6 or newer, or Valkey"));
        }
        let (bound, policy) = (field("maxmemory"), field("maxmemory_policy"));
        if bound != "0" && policy.starts_with("allkeys") {
            warn(
                WARNING,
                format!(
                    "at maxmemory ({bound} bytes) it throws objects away (maxmemory-policy {policy}): data WILL be \
                     lost; set maxmemory-policy noeviction"
                ),
            );
        }
        if field("role") == "slave" {
            warn(WARNING, "it is a replica: every write will be refused, address its master".into());
        }
        let logged = field("aof_enabled") == "1";
        let synced = match &sync.result {
            Some(Ok(Answer::List(all))) => all.last() == Some(&Answer::Bytes(b"always".to_vec())),
            _ => false,
        };
        if common.config.durable && !(logged && synced) {
            return invalid(format!(
                "{node}: durable=yes, but the server does not sync every write: set appendonly yes and appendfsync always"
            ));
        }
        if !logged {
            warn(
                NOTE,
                "it logs no writes (appendonly no): what it has not saved is lost when it ends".into(),
            );
        }
        Ok(())
    }
}
