//! Mappers of third parties: shared libraries that IRIS_MAPPER_PATH names, with the interface of
//! `include/iris_mapper.h`. Owns the loading, and the border: what comes over it is checked before it is believed.
//! Plans nothing itself. Nothing is loaded before somebody asks for the registry.

mod abi;

use abi::{CFacts, CObjects, CPiece, CRecord, Calls, Ops, Text};
use iris_mappers::{
    Facts, Guard, How, MAX_FILE, MAX_NUMBER, Maker, Mapper, Object, Objects, OptionSpec, Options, Piece,
    Plan, PlanError, Record, RecordError, Registry, SpecError, Standing, end_of,
};
use std::ffi::{CStr, CString, OsStr, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The variable that names the libraries and folders of libraries, separated by colons.
pub const VARIABLE: &str = "IRIS_MAPPER_PATH";
/// `IRIS_MAPPER_ABI`
const ABI: u32 = 1;

/// Why a library's mappers cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// A path that cannot be looked at.
    #[error("{}: {source} (named by {VARIABLE})", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The dynamic linker refuses it.
    #[error("{}: cannot be loaded: {why} (named by {VARIABLE})", path.display())]
    Load {
        /// The library.
        path: PathBuf,
        /// What the linker says.
        why: String,
    },
    /// It is not what it should be.
    #[error("{}: {why}: see iris_mapper.h (named by {VARIABLE})", path.display())]
    NotAMapper {
        /// The library.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Its name is taken, or unfit.
    #[error("{}: {source} (named by {VARIABLE})", path.display())]
    Name {
        /// The library.
        path: PathBuf,
        /// What is wrong.
        source: Box<SpecError>,
    },
}

/// What is behind `iris_plan`: the plan, and what was wrong with what was added to it.
struct Sheet<'a> {
    plan: &'a mut Plan,
    wrong: Option<&'static str>,
}

static CALLS: Calls =
    Calls { piece: add_piece, remove: add_removal, record: add_record, intent: add_intent, take: add_taken };

/// The functions that every mapper must have, taken out of [`Ops`] once they are known to be there.
struct Library {
    name: String,
    about: String,
    ops: &'static Ops,
    create: unsafe extern "C" fn(Text, *mut *mut c_void) -> Text,
}

/// Loads everything that [`VARIABLE`] names into a registry that already has Iris's own mappers.
pub fn load(path: &OsStr, registry: &mut Registry) -> Result<(), PluginError> {
    for entry in path.as_bytes().split(|b| *b == b':').filter(|e| !e.is_empty()) {
        let entry = Path::new(OsStr::from_bytes(entry));
        for library in libraries(entry)? {
            load_library(&library, registry)?;
        }
    }
    Ok(())
}

/// Iris's own mappers and those of [`VARIABLE`].
pub fn registry() -> Result<Registry, PluginError> {
    let mut registry = Registry::own();
    if let Some(path) = std::env::var_os(VARIABLE) {
        load(&path, &mut registry)?;
    }
    Ok(registry)
}

/// A library itself, or those of a folder in the order of their names.
fn libraries(entry: &Path) -> Result<Vec<PathBuf>, PluginError> {
    let fail = |source| PluginError::Path { path: entry.to_path_buf(), source };
    if !std::fs::metadata(entry).map_err(fail)?.is_dir() {
        return Ok(vec![entry.to_path_buf()]);
    }
    let mut found = Vec::new();
    for file in std::fs::read_dir(entry).map_err(fail)? {
        let path = file.map_err(fail)?.path();
        if path.extension().is_some_and(|e| e == "so") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn load_library(path: &Path, registry: &mut Registry) -> Result<(), PluginError> {
    let refuse = |why: String| PluginError::NotAMapper { path: path.to_path_buf(), why };
    let failed = |_| PluginError::Load { path: path.to_path_buf(), why: "a zero byte in its name".into() };
    // A name without a slash would be looked for in the linker's folders.
    let absolute =
        std::path::absolute(path).map_err(|source| PluginError::Path { path: path.to_path_buf(), source })?;
    let name = CString::new(absolute.as_os_str().as_bytes()).map_err(failed)?;
    // SAFETY: a library's constructors run; that they may is what the user asked for by naming it. The handle is
    // never closed, so what is found in it stays.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    if handle.is_null() {
        // SAFETY: dlerror gives a text of this thread that is valid until its next call, or NULL.
        let why = unsafe { text(libc::dlerror()) }.unwrap_or_else(|| "no reason given".into());
        return Err(PluginError::Load { path: path.to_path_buf(), why });
    }
    // SAFETY: the handle is open, the name ends with a zero.
    let entry = unsafe { libc::dlsym(handle, c"iris_mapper_v1".as_ptr()) };
    if entry.is_null() {
        return Err(refuse("it has no function iris_mapper_v1".into()));
    }
    // SAFETY: a function of this name has this type, by the header; there is no way to ask.
    let entry: unsafe extern "C" fn(u32) -> *const Ops = unsafe { std::mem::transmute(entry) };
    for number in 0.. {
        // SAFETY: any number may be asked for.
        let ops = unsafe { entry(number) };
        if ops.is_null() {
            if number == 0 {
                return Err(refuse("it has no mapper".into()));
            }
            break;
        }
        // SAFETY: not NULL, so by the header a table that stays; its first two fields tell whether it is one of
        // this version, and no other is read before they have.
        let (abi, size) = unsafe { ((*ops).abi, (*ops).size) };
        if abi != ABI || size as usize != size_of::<Ops>() {
            let right = size_of::<Ops>();
            return Err(refuse(format!(
                "mapper {number} was built for interface {abi} ({size} bytes); this Iris has {ABI} ({right} bytes)"
            )));
        }
        // SAFETY: as above, and now known to be this structure.
        let ops: &'static Ops = unsafe { &*ops };
        let library = check(ops).map_err(|why| refuse(format!("mapper {number} {why}")))?;
        let maker: &'static Library = Box::leak(Box::new(library));
        registry
            .add(maker)
            .map_err(|source| PluginError::Name { path: path.to_path_buf(), source: Box::new(source) })?;
    }
    Ok(())
}

fn check(ops: &'static Ops) -> Result<Library, String> {
    // SAFETY: by the header both are texts that stay, or NULL.
    let (name, about) = unsafe { (text(ops.name), text(ops.about)) };
    let name = name.ok_or("has no name")?;
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return Err(format!("has the name `{name}`: lower case letters, digits and `-` are needed"));
    }
    let needed = [
        ("destroy", ops.destroy.is_some()),
        ("plan_write", ops.plan_write.is_some()),
        ("plan_read", ops.plan_read.is_some()),
        ("plan_truncate", ops.plan_truncate.is_some()),
        ("plan_remove", ops.plan_remove.is_some()),
        ("standing", ops.standing.is_some()),
    ];
    if let Some((missing, _)) = needed.iter().find(|(_, there)| !there) {
        return Err(format!("({name}) has no function {missing}"));
    }
    let index = [
        ops.apply.is_some(),
        ops.garbage.is_some(),
        ops.collected.is_some(),
        ops.snapshot.is_some(),
        ops.reset.is_some(),
    ];
    if index.iter().any(|i| *i != index[0]) {
        return Err(format!("({name}) has some of the functions of an index, and not all"));
    }
    let create = ops.create.ok_or_else(|| format!("({name}) has no function create"))?;
    Ok(Library { name, about: about.unwrap_or_default(), ops, create })
}

/// A text of C as one of Rust.
///
/// # Safety
/// `text` is NULL or a text that ends with a zero, and is not changed meanwhile.
unsafe fn text(text: Text) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: as required.
    Some(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

impl Maker for Library {
    fn name(&self) -> &str {
        &self.name
    }

    fn about(&self) -> &str {
        &self.about
    }

    fn options(&self) -> &[OptionSpec] {
        &[]
    }

    fn make(&self, options: &Options) -> Result<Box<dyn Mapper>, SpecError> {
        self.make_from_text(&options.text())
    }

    fn make_from_text(&self, options: &str) -> Result<Box<dyn Mapper>, SpecError> {
        let refused = |why: String| SpecError::Refused { mapper: self.name.clone(), why };
        let given = CString::new(options).map_err(|_| refused("a zero byte in its options".into()))?;
        let mut mapper = std::ptr::null_mut();
        // SAFETY: both pointers are valid for the call.
        let said = unsafe { (self.create)(given.as_ptr(), &raw mut mapper) };
        // SAFETY: by the header NULL or a text that stays.
        if let Some(why) = unsafe { text(said) } {
            return Err(refused(why));
        }
        if mapper.is_null() {
            return Err(refused("create gave no mapper".into()));
        }
        Ok(Box::new(Foreign { name: self.name.clone(), options: options.to_owned(), ops: self.ops, mapper }))
    }
}

/// A mapper of a library.
struct Foreign {
    name: String,
    options: String,
    ops: &'static Ops,
    mapper: *mut c_void,
}

// SAFETY: the header requires that functions with a const mapper may be called by several threads at once, and that
// no function is bound to the thread that made the mapper. `&mut self` keeps the others apart.
unsafe impl Send for Foreign {}
// SAFETY: as above.
unsafe impl Sync for Foreign {}

impl Drop for Foreign {
    fn drop(&mut self) {
        if let Some(destroy) = self.ops.destroy {
            // SAFETY: made by the same library's create, and never used again.
            unsafe { destroy(self.mapper) };
        }
    }
}

fn c_facts(facts: &Facts) -> CFacts {
    let s = &facts.store;
    let store = u32::from(s.range_read) | u32::from(s.range_write) << 1 | u32::from(s.conditional_put) << 2;
    CFacts { size: facts.size, max_object: s.max_object, store, reserved: 0 }
}

/// The sheet behind a plan.
///
/// # Safety
/// `plan` is what a planning function was given, during that call.
unsafe fn sheet<'a>(plan: *mut c_void) -> &'a mut Sheet<'a> {
    // SAFETY: as required; the caller of the planning function does not touch the sheet during the call.
    unsafe { &mut *plan.cast::<Sheet>() }
}

unsafe extern "C" fn add_piece(plan: *mut c_void, piece: *const CPiece) {
    // SAFETY: by the header.
    let (sheet, p) = unsafe { (sheet(plan), &*piece) };
    let how = match p.how {
        0 => How::Put,
        1 => How::Update,
        2 => How::Modify,
        3 => How::Read,
        4 => How::ReadWhole,
        5 => How::ReadWritten,
        6 => How::Zeros,
        7 => How::Cut,
        _ => return sheet.wrong = Some("a piece says an unknown `how`"),
    };
    let guard = match p.guard {
        0 => Guard::None,
        1 => Guard::Absent,
        2 => Guard::Unchanged,
        _ => return sheet.wrong = Some("a piece says an unknown `guard`"),
    };
    let object = Object { level: p.level, number: p.number };
    sheet.plan.pieces.push(Piece { object, at: p.at, offset: p.offset, len: p.len, how, guard });
}

unsafe extern "C" fn add_removal(plan: *mut c_void, objects: *const CObjects) {
    // SAFETY: by the header.
    let (sheet, o) = unsafe { (sheet(plan), &*objects) };
    match run(o) {
        Some(run) => sheet.plan.deletions.push(run),
        None => sheet.wrong = Some("objects with numbers out of range are removed"),
    }
}

unsafe extern "C" fn add_record(plan: *mut c_void, record: *const CRecord) {
    // SAFETY: by the header.
    unsafe { sheet(plan).plan.records.push(Record::Own(*record)) }
}

unsafe extern "C" fn add_intent(plan: *mut c_void, record: *const CRecord) {
    // SAFETY: by the header.
    unsafe { sheet(plan).plan.intents.push(Record::Own(*record)) }
}

unsafe extern "C" fn add_taken(plan: *mut c_void, count: u64) {
    // SAFETY: by the header.
    let plan = unsafe { &mut sheet(plan).plan };
    plan.taken = plan.taken.saturating_add(count);
}

fn run(o: &CObjects) -> Option<Objects> {
    let fits = o.count > 0 && o.first.checked_add(o.count).is_some_and(|end| end <= MAX_NUMBER + 1);
    fits.then_some(Objects { level: o.level, first: o.first, count: o.count })
}

unsafe extern "C" fn give_run(to: *mut c_void, objects: *const CObjects) {
    // SAFETY: `to` is the list that `Foreign::garbage` passed on, during that call; the rest by the header.
    let (list, o) = unsafe { (&mut *to.cast::<Vec<Objects>>(), &*objects) };
    // A run that cannot be is not garbage.
    list.extend(run(o));
}

unsafe extern "C" fn give_record(to: *mut c_void, record: *const CRecord) {
    // SAFETY: `to` is the list that `Foreign::snapshot` passed on, during that call; the rest by the header.
    unsafe { (*to.cast::<Vec<Record>>()).push(Record::Own(*record)) }
}

/// What a plan is for, by which it is checked.
enum Purpose {
    /// A write of this range.
    Write(u64, u64),
    /// A read of this range.
    Read(u64, u64),
    /// A change of size, or the end of the file.
    Shorten,
}

impl Foreign {
    /// Calls a planning function, and believes nothing that it says before it is checked. After an error nothing
    /// of it is in the plan.
    fn plan(
        &self,
        facts: &Facts,
        plan: &mut Plan,
        fresh: u64,
        purpose: Purpose,
        call: impl FnOnce(*const CFacts, *mut c_void) -> Text,
    ) -> Result<(), PlanError> {
        let before =
            (plan.pieces.len(), plan.deletions.len(), plan.records.len(), plan.intents.len(), plan.taken);
        let mut sheet = Sheet { plan, wrong: None };
        let said = call(&c_facts(facts), (&raw mut sheet).cast());
        let Sheet { plan, wrong } = sheet;
        // SAFETY: by the header NULL or a text that stays.
        let why = unsafe { text(said) }.or(wrong.map(str::to_owned)).or_else(|| {
            let taken = fresh.checked_add(plan.taken - before.4).is_some_and(|n| n <= MAX_NUMBER + 1);
            let wrong = if taken {
                wrong_in(facts, &plan.pieces[before.0..], &purpose)
            } else {
                Some("it takes too many object numbers")
            };
            wrong.map(|w| format!("its plan is wrong: {w}"))
        });
        let Some(why) = why else { return Ok(()) };
        plan.pieces.truncate(before.0);
        plan.deletions.truncate(before.1);
        plan.records.truncate(before.2);
        plan.intents.truncate(before.3);
        plan.taken = before.4;
        Err(PlanError::Foreign { mapper: self.name.clone(), why })
    }

    fn refused(&self, said: Text) -> Result<(), RecordError> {
        // SAFETY: by the header NULL or a text that stays.
        match unsafe { text(said) } {
            None => Ok(()),
            Some(why) => Err(RecordError::Foreign { mapper: self.name.clone(), why }),
        }
    }
}

/// What is wrong with the pieces of a plan, if anything.
fn wrong_in(facts: &Facts, pieces: &[Piece], purpose: &Purpose) -> Option<&'static str> {
    let store = &facts.store;
    let mut covered = 0u64;
    let mut next = match *purpose {
        Purpose::Read(offset, _) => offset,
        _ => 0,
    };
    for p in pieces {
        let writes = matches!(p.how, How::Put | How::Update | How::Modify);
        let reads = matches!(p.how, How::Read | How::ReadWhole | How::ReadWritten | How::Zeros);
        if p.object.number > MAX_NUMBER {
            return Some("an object number is too large");
        }
        if p.at.checked_add(p.len).is_none_or(|end| end > store.max_object) && p.how != How::Zeros {
            return Some("an object is larger than the store takes");
        }
        if p.how == How::Put && p.at != 0 {
            return Some("a put does not begin at the object's first byte");
        }
        if p.how == How::Update && !store.range_write || p.how == How::Read && !store.range_read {
            return Some("the store cannot reach a part of an object");
        }
        let guard = match p.how {
            How::Put => Guard::Absent,
            How::Modify => Guard::Unchanged,
            _ => Guard::None,
        };
        if p.guard != Guard::None && (p.guard != guard || !store.conditional_put) {
            return Some("a guard does not fit its piece or the store");
        }
        match *purpose {
            Purpose::Write(offset, end) => {
                let inside = p.offset >= offset && p.offset.checked_add(p.len).is_some_and(|e| e <= end);
                if !writes || p.len == 0 || !inside {
                    return Some("a piece of a write writes nothing, or something else");
                }
                covered = covered.saturating_add(p.len);
            }
            Purpose::Read(_, end) => {
                if !reads || p.len == 0 || p.offset != next || p.len > end - next {
                    return Some("the pieces of a read leave a gap, overlap or are none");
                }
                next += p.len;
            }
            Purpose::Shorten => {
                if p.how != How::Cut || p.len != 0 {
                    return Some("something else than a cut shortens a file");
                }
            }
        }
    }
    match *purpose {
        Purpose::Write(offset, end) if covered < end - offset => Some("a write leaves bytes out"),
        Purpose::Read(_, end) if next != end => Some("the pieces of a read end before it"),
        _ => None,
    }
}

impl Mapper for Foreign {
    fn spec(&self) -> String {
        match self.options.as_str() {
            "" => self.name.clone(),
            options => format!("{}:{options}", self.name),
        }
    }

    fn plan_write(
        &self,
        facts: &Facts,
        offset: u64,
        len: u64,
        fresh: u64,
        plan: &mut Plan,
    ) -> Result<(), PlanError> {
        let end = end_of(offset, len)?;
        let Some(call) = self.ops.plan_write.filter(|_| len > 0) else { return Ok(()) };
        // SAFETY: the mapper lives, the facts and the sheet live for the call.
        self.plan(facts, plan, fresh, Purpose::Write(offset, end), |f, p| unsafe {
            call(self.mapper, f, offset, len, fresh, p, &CALLS)
        })
    }

    fn plan_read(&self, facts: &Facts, offset: u64, len: u64, plan: &mut Plan) -> Result<(), PlanError> {
        let end = offset.saturating_add(len).min(facts.size);
        let Some(call) = self.ops.plan_read.filter(|_| offset < end) else { return Ok(()) };
        // SAFETY: as above.
        self.plan(facts, plan, 0, Purpose::Read(offset, end), |f, p| unsafe {
            call(self.mapper, f, offset, end - offset, p, &CALLS)
        })
    }

    fn plan_truncate(&self, facts: &Facts, size: u64, plan: &mut Plan) -> Result<(), PlanError> {
        if size > MAX_FILE {
            return Err(PlanError::OutOfRange { offset: size, len: 0 });
        }
        let Some(call) = self.ops.plan_truncate.filter(|_| size < facts.size) else { return Ok(()) };
        // SAFETY: as above.
        self.plan(facts, plan, 0, Purpose::Shorten, |f, p| unsafe { call(self.mapper, f, size, p, &CALLS) })
    }

    fn plan_remove(&self, facts: &Facts, plan: &mut Plan) -> Result<(), PlanError> {
        let Some(call) = self.ops.plan_remove else { return Ok(()) };
        // SAFETY: as above.
        self.plan(facts, plan, 0, Purpose::Shorten, |f, p| unsafe { call(self.mapper, f, p, &CALLS) })
    }

    fn apply(&mut self, record: &Record) -> Result<(), RecordError> {
        let ops = self.ops;
        match (*record, ops.apply, ops.collected) {
            (Record::Own(own), Some(apply), _) => {
                // SAFETY: the mapper is ours alone here, the record lives for the call.
                self.refused(unsafe { apply(self.mapper, &own) })
            }
            (Record::Collected { level, first, count }, _, Some(collected)) => {
                record.validate()?;
                let objects = CObjects { first, count, level, reserved: 0 };
                // SAFETY: as above.
                self.refused(unsafe { collected(self.mapper, &objects) })
            }
            _ => Err(RecordError::Foreign {
                mapper: self.name.clone(),
                why: format!("a record of the kind {} is not one of its own", record.kind()),
            }),
        }
    }

    fn garbage(&self, limit: usize, out: &mut Vec<Objects>) {
        let most = out.len().saturating_add(limit);
        if let Some(garbage) = self.ops.garbage {
            // SAFETY: the list lives for the call, and `give_run` takes it for what it is.
            unsafe { garbage(self.mapper, limit as u64, (&raw mut *out).cast(), give_run) };
            out.truncate(most);
        }
    }

    fn standing(&self, facts: &Facts, object: Object) -> Standing {
        let Some(standing) = self.ops.standing else { return Standing::Needed };
        // SAFETY: the mapper lives, the facts live for the call.
        match unsafe { standing(self.mapper, &c_facts(facts), object.level, object.number) } {
            1 => Standing::Garbage,
            2 => Standing::Unknown,
            _ => Standing::Needed,
        }
    }

    fn snapshot(&self, out: &mut Vec<Record>) {
        if let Some(snapshot) = self.ops.snapshot {
            // SAFETY: the list lives for the call, and `give_record` takes it for what it is.
            unsafe { snapshot(self.mapper, (&raw mut *out).cast(), give_record) };
        }
    }

    fn reset(&mut self) {
        if let Some(reset) = self.ops.reset {
            // SAFETY: the mapper is ours alone here.
            unsafe { reset(self.mapper) };
        }
    }
}
