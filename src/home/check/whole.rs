//! Homes whose files are objects of the same names: what is there is what is named. What is wrong is what no name can lead
//! to, and what Iris itself has left.

use super::local::{self, Local};
use super::{CheckError, Fate, Finding, How, Report, What};
use crate::errno::Errno;
use crate::home::Home;
use crate::home::catalog::objects::{HIDDEN, is_name};
use iris_store::{ListRequest, Listed, Request, Store};
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

/// Keys of one page of a listing.
const PAGE: usize = 1000;
/// How old an object of Iris's own must be for its maker to be gone for certain: requests take minutes at most, and clocks
/// may be off by hours.
const OLD: Duration = Duration::from_secs(24 * 3600);

pub(super) fn check(home: &'static Home, how: How) -> Result<Report, CheckError> {
    let store = home.store_to_check()?;
    let mut report = Report::default();
    objects(&*store, how, &mut report)?;
    let here = || CheckError::at(String::from_utf8_lossy(&home.controls).into_owned());
    let turn = home.turn().and_then(|t| t.take(home.holders()?)).map_err(here())?;
    if home.is_moving().map_err(here())? {
        let fate = how.fate(|| home.finish_moves().map_err(|e| e.to_string()));
        report.findings.push(Finding::new(What::Rename, fate).at(home.note()));
    }
    let local = Local::read(home, Some(&turn), |_| false)?;
    // What such a file had in the store is another name's, or nobody's: it went with its name.
    report.findings.extend(local.strays(how, None, |_| local::Objects::default(), |_| Ok(())));
    report.findings.extend(local.wrecks(how));
    Ok(report)
}

/// Looks at all keys.
fn objects(store: &dyn Store, how: How, report: &mut Report) -> Result<(), CheckError> {
    let mut files: BTreeSet<Vec<u8>> = BTreeSet::new();
    let mut after = Vec::new();
    loop {
        let page = store.list(&ListRequest { prefix: b"", after: &after, delimiter: None, limit: PAGE })?;
        for entry in page.entries {
            let Listed::Object(key, facts) = entry else { continue };
            report.objects += 1;
            let finding = |what, fate| Finding::new(what, fate).under(key.clone()).counting(1, facts.len);
            if key.starts_with(HIDDEN) {
                let old = facts.modified.is_some_and(|t| t < SystemTime::now() - OLD);
                // A younger one may be being asked with.
                if old {
                    let fate = how.fate(|| match store.one(Request::Delete { key: &key }) {
                        Err(e) => Err(e.to_string()),
                        Ok(_) => Ok(()),
                    });
                    report.findings.push(finding(What::Probe, fate));
                }
                continue;
            }
            // A marker's last part is empty.
            let name = key.strip_suffix(b"/").unwrap_or(&key);
            if !name.split(|b| *b == b'/').all(is_name) {
                report.findings.push(finding(What::Foreign, Fate::Told));
                continue;
            }
            let ends = name.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
            let above = ends.chain((name.len() < key.len()).then_some(name.len()));
            // A file's key is listed before all that it hides.
            if above.map(|at| &name[..at]).any(|part| files.contains(part)) {
                report.findings.push(finding(What::Hidden, Fate::Told));
            } else if name.len() == key.len() {
                report.files += 1;
                files.insert(key);
            }
        }
        match page.next {
            Some(next) => after = next,
            None => return Ok(()),
        }
    }
}

impl Home {
    /// Whether a rename was begun and not ended. In the node's turn.
    fn is_moving(&self) -> Result<bool, Errno> {
        match self.note().symlink_metadata() {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(local::errno(&e)),
        }
    }
}
