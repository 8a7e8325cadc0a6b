//! `iris crawl`: loading the names of a mount ahead. Owns the words, the progress and the exit codes; how names come in is
//! the library's business.

use super::say::{self, Failure};
use super::settings::Settings;
use clap::Args;
use iris::admin::homes::{self, Crawl};
use iris::home::crawl::Crawled;
use serde_json::json;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Options of `iris crawl`.
#[derive(Args, Debug)]
pub struct CrawlArgs {
    /// The mount, as programs name it
    #[arg(value_name = "MOUNT")]
    of: PathBuf,
    /// Only what is in these directories (or these files) of the mount; without any, all of it
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Runs `iris crawl`.
pub fn main(args: &CrawlArgs) -> Result<(String, ExitCode), Failure> {
    let config = args.settings.load()?;
    // What a store fails with, it says there.
    iris::log::set_level(config.log.max(1));
    let mut progress = Progress::new(io::stderr().is_terminal());
    let crawl = homes::crawl(&config, &args.of, &args.paths, &mut |so_far: &Crawled| progress.tell(so_far));
    progress.end();
    let (crawled, failed) = match crawl.map_err(|e| Failure::new(2, e.to_string()))? {
        Crawl::Needless(why) if args.json => {
            return Ok((as_json(&Crawled::default(), Some(&why)), ExitCode::SUCCESS));
        }
        Crawl::Needless(why) => return Ok((format!("{why}\n"), ExitCode::SUCCESS)),
        Crawl::Done { crawled, failed } => (crawled, failed),
    };
    for (path, why) in &failed {
        say::complain(&format!("{}: {why}", path.display()));
    }
    let text = if args.json { as_json(&crawled, None) } else { as_text(args, &crawled) };
    Ok((text, ExitCode::from(u8::from(!failed.is_empty()))))
}

fn as_text(args: &CrawlArgs, c: &Crawled) -> String {
    format!(
        "{}: {} in {}; {} new, {} changed, {} gone\n",
        args.of.display(),
        count(c.names, "name", "names"),
        count(c.directories, "directory", "directories"),
        c.new,
        c.changed,
        c.gone
    )
}

fn as_json(c: &Crawled, needless: Option<&str>) -> String {
    let value = json!({"directories": c.directories, "names": c.names, "new": c.new, "changed": c.changed,
                       "gone": c.gone, "needless": needless});
    format!("{value:#}\n")
}

/// How far the crawl has come, on standard error: a bar on a terminal, which a line takes the place of elsewhere.
struct Progress {
    terminal: bool,
    last: Instant,
    /// Something is drawn that has to be wiped out.
    drawn: bool,
}

/// How often a bar is drawn, and a line is written.
const DRAW: Duration = Duration::from_millis(100);
const WRITE: Duration = Duration::from_secs(5);
/// Characters of a bar.
const WIDTH: u64 = 30;

impl Progress {
    fn new(terminal: bool) -> Progress {
        // A bar shows at once.
        let last = Instant::now();
        Progress {
            terminal,
            last: if terminal { last.checked_sub(DRAW).unwrap_or(last) } else { last },
            drawn: false,
        }
    }

    fn tell(&mut self, so_far: &Crawled) {
        if self.last.elapsed() < if self.terminal { DRAW } else { WRITE } {
            return;
        }
        self.last = Instant::now();
        let line = line(so_far);
        // There is nobody left to tell when that fails.
        if self.terminal {
            self.drawn = true;
            let _ = write!(io::stderr().lock(), "\r{} {line}\x1b[K", bar(so_far));
        } else {
            say::complain(&format!("{line} so far"));
        }
    }

    fn end(&mut self) {
        if self.drawn {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

fn line(c: &Crawled) -> String {
    let known = count(c.directories + c.waiting, "directory", "directories");
    format!("{} of {known}, {}", c.directories, count(c.names, "name", "names"))
}

fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// As much of the known directories as was gone through; more become known on the way.
fn bar(c: &Crawled) -> String {
    let full = (c.directories * WIDTH).checked_div(c.directories + c.waiting).unwrap_or(0);
    format!("[{}{}]", "#".repeat(full as usize), "-".repeat((WIDTH - full) as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_has_one_width() {
        for (directories, waiting, full) in [(0, 0, 0), (1, 0, 30), (1, 1, 15), (1, 99, 0), (99, 1, 29)] {
            let c = Crawled { directories, waiting, ..Crawled::default() };
            assert_eq!((bar(&c).len(), bar(&c).matches('#').count()), (32, full));
        }
    }
}
