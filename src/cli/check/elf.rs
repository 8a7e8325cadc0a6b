//! What an ELF file says about itself. Owns the reading of the format; judges nothing and opens no file.

use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader, SectionHeader, SectionTable, Sym};
use object::{Endianness, FileKind, ReadRef};

/// The facts that decide whether a preloaded library can see a program's calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Number of the processor's architecture.
    pub machine: u16,
    /// Whether addresses have 64 bits.
    pub wide: bool,
    /// The dynamic linker that it asks for.
    pub interpreter: Option<String>,
    /// Whether it is made to be loaded by the dynamic linker at all.
    pub dynamic: bool,
    /// Whether it is a library rather than a program.
    pub library: bool,
    /// The libraries that it asks for by name.
    pub needed: Vec<String>,
    /// Whether the Go toolchain made it.
    pub go: bool,
    /// A line on what showed that.
    pub go_because: Option<&'static str>,
}

/// A piece of code.
pub struct Code<'d> {
    /// Its address in memory.
    pub address: u64,
    /// The instructions.
    pub bytes: &'d [u8],
}

/// A named function.
pub struct Function {
    /// Its address in memory.
    pub address: u64,
    /// Its length; 0 when it is not told.
    pub size: u64,
    /// Its name.
    pub name: String,
}

/// The architecture of this program itself.
pub const NATIVE: u16 = if cfg!(target_arch = "x86_64") {
    elf::EM_X86_64.0
} else if cfg!(target_arch = "aarch64") {
    elf::EM_AARCH64.0
} else {
    0
};

/// The name of an architecture.
pub fn machine_name(machine: u16, wide: bool) -> String {
    match elf::Machine(machine) {
        elf::EM_X86_64 if wide => "x86-64".into(),
        elf::EM_X86_64 => "x32 (32-bit addresses on x86-64)".into(),
        elf::EM_386 => "32-bit x86".into(),
        elf::EM_AARCH64 => "64-bit ARM".into(),
        elf::EM_ARM => "32-bit ARM".into(),
        elf::EM_RISCV => "RISC-V".into(),
        elf::EM_PPC64 => "64-bit POWER".into(),
        elf::EM_S390 => "s390".into(),
        other => format!("architecture number {}", other.0),
    }
}

/// Reads the facts. An error says what is wrong with the file.
pub fn facts<'d, R: ReadRef<'d>>(data: R) -> object::Result<Facts> {
    match FileKind::parse(data)? {
        FileKind::Elf32 => read::<FileHeader32<Endianness>, R>(data),
        _ => read::<FileHeader64<Endianness>, R>(data),
    }
}

fn read<'d, E: FileHeader<Endian = Endianness>, R: ReadRef<'d>>(data: R) -> object::Result<Facts> {
    let header = E::parse(data)?;
    let endian = header.endian()?;
    let mut facts =
        Facts { machine: header.e_machine(endian).0, wide: header.is_type_64(), ..Facts::default() };
    let segments = header.program_headers(endian, data)?;
    let mut pie = header.e_type(endian) == elf::ET_EXEC;
    for segment in segments {
        if let Some(name) = segment.interpreter(endian, data)? {
            facts.interpreter = Some(String::from_utf8_lossy(name).into_owned());
        }
        let Some(dynamic) = segment.dynamic(endian, data)? else { continue };
        facts.dynamic = true;
        let value = |tag: elf::DynamicTag| {
            dynamic.iter().find(|d| d.d_tag(endian) == tag).map(|d| -> u64 { d.d_val(endian).into() })
        };
        pie |= value(elf::DT_FLAGS_1).is_some_and(|f| f & PIE != 0);
        let (Some(strings), Some(size)) = (value(elf::DT_STRTAB), value(elf::DT_STRSZ)) else { continue };
        let table = segments.iter().find_map(|s| s.data_range(endian, data, strings, size).ok().flatten());
        for entry in dynamic.iter().filter(|d| d.d_tag(endian) == elf::DT_NEEDED) {
            let at: u64 = entry.d_val(endian).into();
            let name = table.and_then(|t| t.get(usize::try_from(at).ok()?..));
            if let Some(name) = name.and_then(|n| n.split(|b| *b == 0).next()) {
                facts.needed.push(String::from_utf8_lossy(name).into_owned());
            }
        }
    }
    facts.library = header.e_type(endian) == elf::ET_DYN && facts.interpreter.is_none() && !pie;
    facts.go_because = go(&header.sections(endian, data)?, endian, data);
    facts.go = facts.go_because.is_some();
    Ok(facts)
}

/// `DF_1_PIE`: a static position-independent program carries it, a library does not.
const PIE: u64 = 0x0800_0000;

/// What shows that the Go toolchain made the file. The runtime needs its function table even in a stripped
/// program; without a table of sections, the mark of the build information remains.
fn go<'d, E: FileHeader<Endian = Endianness>, R: ReadRef<'d>>(
    sections: &SectionTable<'d, E, R>,
    endian: Endianness,
    data: R,
) -> Option<&'static str> {
    for (name, what) in [
        (&b".gopclntab"[..], "it has Go's table of functions (.gopclntab)"),
        (b".note.go.buildid", "it has a Go build id (.note.go.buildid)"),
        (b".go.buildinfo", "it has Go's build information (.go.buildinfo)"),
    ] {
        if sections.section_by_name(endian, name).is_some() {
            return Some(what);
        }
    }
    const MARK: &[u8] = b"\xff Go buildinf:";
    if !sections.is_empty() {
        return None;
    }
    let all = data.len().and_then(|len| data.read_bytes_at(0, len)).unwrap_or_default();
    if all.windows(MARK.len()).any(|w| w == MARK) {
        return Some("it has the mark of Go's build information");
    }
    None
}

/// The executable part of a file.
#[derive(Default)]
pub struct Text<'d> {
    /// Its pieces.
    pub code: Vec<Code<'d>>,
    /// Its named functions, by address.
    pub functions: Vec<Function>,
    /// Address and length of all that has unwind information, by address: what a compiler or assembler calls a
    /// function, also in a file without symbols. Tables of data between functions have none.
    pub unwound: Vec<(u64, u64)>,
}

/// Reads the executable part of a 64-bit file.
pub fn text(data: &[u8]) -> object::Result<Text<'_>> {
    let header = FileHeader64::<Endianness>::parse(data)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, data)?;
    let mut text = Text::default();
    for section in sections.iter() {
        let flags: u64 = section.sh_flags(endian).0;
        if flags & elf::SHF_EXECINSTR.0 != 0 && section.sh_type(endian) == elf::SHT_PROGBITS {
            let address = section.sh_addr(endian);
            text.code.push(Code { address, bytes: section.data(endian, data)? });
        }
    }
    if text.code.is_empty() {
        // Stripped of its sections: the executable segments hold the code and some data.
        for segment in header.program_headers(endian, data)? {
            if segment.p_type(endian) == elf::PT_LOAD && segment.p_flags(endian).0 & elf::PF_X.0 != 0 {
                let bytes = segment.data(endian, data).unwrap_or_default();
                text.code.push(Code { address: segment.p_vaddr(endian), bytes });
            }
        }
    }
    for kind in [elf::SHT_SYMTAB, elf::SHT_DYNSYM] {
        let symbols = sections.symbols(endian, data, kind)?;
        for symbol in symbols.iter() {
            if symbol.st_type() == elf::STT_FUNC && symbol.st_value(endian) != 0 {
                let name = symbol.name(endian, symbols.strings()).unwrap_or_default();
                text.functions.push(Function {
                    address: symbol.st_value(endian),
                    size: symbol.st_size(endian),
                    name: String::from_utf8_lossy(name).into_owned(),
                });
            }
        }
    }
    text.functions.sort_by_key(|f| f.address);
    if let Some((_, section)) = sections.section_by_name(endian, b".eh_frame") {
        text.unwound = unwound(section.data(endian, data)?, section.sh_addr(endian));
        text.unwound.sort_unstable();
    }
    Ok(text)
}

/// The ranges that have unwind information. A damaged table gives what could be read before the damage.
fn unwound(bytes: &[u8], address: u64) -> Vec<(u64, u64)> {
    use gimli::{BaseAddresses, CieOrFde, EhFrame, LittleEndian, UnwindSection};
    let frames = EhFrame::new(bytes, LittleEndian);
    let bases = BaseAddresses::default().set_eh_frame(address);
    let mut ranges = Vec::new();
    let mut entries = frames.entries(&bases);
    while let Ok(Some(entry)) = entries.next() {
        let CieOrFde::Fde(partial) = entry else { continue };
        if let Ok(fde) = partial.parse(|_, bases, offset| frames.cie_from_offset(bases, offset)) {
            ranges.push((fde.initial_address(), fde.len()));
        }
    }
    ranges
}
