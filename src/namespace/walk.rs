//! A name walked part by part, as the kernel would walk it if it knew the virtual mounts: `..` leaves by what was
//! entered, links are read and followed from where they lie. Needed only where a name holds `..` or meets a link;
//! owns that walk, and changes nothing.

use super::room::{Rest, Room};
use super::view::View;
use crate::errno::Errno;
use crate::sys;

/// As many links as the kernel follows in one name (MAXSYMLINKS).
const LINKS: u32 = 40;
/// The longest part of a name.
const PART: usize = 255;

/// What a walk is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// A call that follows a link in the last part.
    Follow,
    /// A call that means the link itself.
    Keep,
    /// The canonical name: what the links of /proc say counts, and nothing is left of `.` and `..`.
    Canonical,
}

/// What a walk has found beside the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walked {
    /// The way led through a virtual mount.
    pub touched: bool,
    /// The virtual mount in which it ended.
    pub mount: Option<usize>,
    /// The name ended in a slash or a dot: it must be a directory.
    pub slash: bool,
}

/// A walk that met what the kernel would refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// As in [`Walked`].
    pub touched: bool,
    /// The error.
    pub error: Errno,
}

/// How a link is followed.
#[derive(PartialEq, Eq)]
enum Step {
    /// By its text.
    Text,
    /// By its text, of this length, which is a name of the kernel's.
    Kernels(usize),
    /// Not here.
    Kept,
}

struct Walk<'w> {
    view: &'w View,
    /// Where the walk is, in the kernel's name space; the root is empty.
    at: &'w mut Room,
    /// The virtual mount it is in.
    mount: Option<usize>,
    touched: bool,
    links: u32,
}

/// Walks `path` from the directory that `room` holds, a name of the kernel's. What the kernel is to get is left there.
pub fn walk(view: &View, path: &[u8], aim: Aim, room: &mut Room) -> Result<Walked, Refused> {
    let mut walk = Walk { view, at: room, mount: None, touched: false, links: 0 };
    match walk.run(path, aim) {
        Ok(slash) => Ok(Walked { touched: walk.touched, mount: walk.mount, slash }),
        Err(error) => Err(Refused { touched: walk.touched, error }),
    }
}

/// Whether a part of the name is "..".
pub fn climbs(path: &[u8]) -> bool {
    path.windows(2).any(|w| w == b"..") && path.split(|b| *b == b'/').any(|part| part == b"..")
}

impl Walk<'_> {
    /// Gives whether the name must be a directory.
    fn run(&mut self, path: &[u8], aim: Aim) -> Result<bool, Errno> {
        let mut rest = Rest::new(path)?;
        if path.starts_with(b"/") || self.at.text() == b"/" {
            self.at.truncate(0);
        }
        self.arrive();
        let mut slash = false;
        let mut tail: &[u8] = b"";
        loop {
            let slashes = rest.text().iter().take_while(|b| **b == b'/').count();
            rest.skip(slashes);
            let text = rest.text();
            let len = text.iter().position(|b| *b == b'/').unwrap_or(text.len());
            let (part, after) = text.split_at(len);
            let last = after.iter().all(|b| *b == b'/');
            match part {
                b"" => break,
                b"." if last => (tail, slash) = (b"/.", true),
                b"." => {}
                b".." => {
                    self.may_search()?;
                    // What leaves the mount has another name; within it the kernel shall see what was asked.
                    if last && aim != Aim::Canonical && !self.at_mount_root() {
                        tail = b"/..";
                    } else {
                        self.pop()?;
                        tail = if last { b"/." } else { b"" };
                    }
                    slash = last;
                }
                part => {
                    slash = last && !after.is_empty();
                    let before = self.at.len();
                    self.push(part)?;
                    let follow = !last || slash || aim != Aim::Keep;
                    if follow && !self.at_mount_root() && part.len() <= PART {
                        match self.look(last, climbs(after), aim, &mut rest, len, before) {
                            Ok(true) => continue,
                            Ok(false) => {}
                            Err(e @ Errno(libc::ELOOP | libc::ENAMETOOLONG)) => return Err(e),
                            // It is not there, or cannot be looked at: the kernel says so, or makes it.
                            Err(_) => {
                                self.at.push(rest.text().get(len..).unwrap_or_default())?;
                                return Ok(slash);
                            }
                        }
                    }
                }
            }
            rest.skip(len);
        }
        if aim != Aim::Canonical {
            self.at.push(if slash && tail.is_empty() { b"/" } else { tail })?;
        }
        if self.at.is_empty() {
            self.at.push(b"/")?;
        }
        Ok(slash)
    }

    /// Follows the part of `len` bytes just entered, if it is a link that is to be followed here: then its text is
    /// in front of what is left.
    fn look(
        &mut self,
        last: bool,
        climbs: bool,
        aim: Aim,
        rest: &mut Rest,
        len: usize,
        before: usize,
    ) -> Result<bool, Errno> {
        let (at, view) = (&mut *self.at, self.view);
        let of_proc = self.mount.is_none() && at.text().starts_with(b"/proc/");
        let mut absolute = false;
        let mut step = Step::Text;
        let read = rest.prepend_with(len, |room| {
            let target = at.with_c_str(|name| sys::read_link(name, room))??;
            absolute = target.starts_with(b"/");
            // The links of /proc lead to files, not to names; where the name that they show is good enough it is one
            // of the kernel's.
            if of_proc && (absolute || target.contains(&b':')) {
                let by_name = aim == Aim::Canonical || !last && (view.by_shadow(target).is_some() || climbs);
                step = if absolute && by_name { Step::Kernels(target.len()) } else { Step::Kept };
                if step == Step::Kept {
                    return Err(Errno(libc::EINVAL));
                }
            }
            Ok(target.len())
        });
        match read {
            Ok(()) => {}
            Err(Errno(libc::EINVAL)) => return Ok(false),
            Err(e) => return Err(e),
        }
        self.count()?;
        match step {
            Step::Kernels(len) => {
                self.jump(&rest.text()[..len])?;
                rest.skip(len);
            }
            _ if absolute => self.jump(b"")?,
            _ => self.at.truncate(before),
        }
        Ok(true)
    }

    fn count(&mut self) -> Result<(), Errno> {
        self.links += 1;
        if self.links > LINKS { Err(Errno(libc::ELOOP)) } else { Ok(()) }
    }

    /// To a name of the kernel's.
    fn jump(&mut self, name: &[u8]) -> Result<(), Errno> {
        self.at.set(if name == b"/" { b"" } else { name })?;
        self.arrive();
        Ok(())
    }

    fn arrive(&mut self) {
        self.mount = self.view.by_shadow(self.at.text()).map(|(mount, _)| mount);
        self.touched |= self.mount.is_some();
    }

    /// Down one part, perhaps into a virtual mount.
    fn push(&mut self, part: &[u8]) -> Result<(), Errno> {
        self.at.push(b"/")?;
        self.at.push(part)?;
        let entered = match self.mount {
            None => self.view.mounts.iter().position(|m| m.prefix == self.at.text()),
            Some(_) if !self.view.nested => None,
            Some(here) => {
                let here = &self.view.mounts[here];
                let below = &self.at.text()[here.shadow.len()..];
                self.view
                    .mounts
                    .iter()
                    .position(|m| m.prefix.strip_prefix(here.prefix.as_slice()).is_some_and(|p| p == below))
            }
        };
        if let Some(mount) = entered {
            self.mount = entered;
            self.touched = true;
            self.at.set(&self.view.mounts[mount].shadow)?;
        }
        Ok(())
    }

    fn at_mount_root(&self) -> bool {
        self.mount.is_some_and(|m| self.at.len() == self.view.mounts[m].shadow.len())
    }

    /// Up one part: from the root of a virtual mount to where its prefix lies.
    fn pop(&mut self) -> Result<(), Errno> {
        let parent = |name: &[u8]| name.iter().rposition(|b| *b == b'/').unwrap_or(0);
        if let Some(mount) = self.mount.filter(|_| self.at_mount_root()) {
            let prefix = &self.view.mounts[mount].prefix;
            let up = &prefix[..parent(prefix)];
            let around = self.view.by_prefix(up);
            self.mount = around.map(|(mount, _)| mount);
            return match around {
                None => self.at.set(up),
                Some((mount, below)) => {
                    self.at.set(&self.view.mounts[mount].shadow)?;
                    self.at.push(below)
                }
            };
        }
        let len = parent(self.at.text());
        self.at.truncate(len);
        Ok(())
    }

    /// The kernel looks `..` up only in a directory, and in one that may be searched.
    fn may_search(&mut self) -> Result<(), Errno> {
        let len = self.at.len();
        self.at.push(b"/.")?;
        let found = self.at.with_c_str(|name| sys::statat(libc::AT_FDCWD, name, true))?;
        self.at.truncate(len);
        found.map(drop)
    }
}
