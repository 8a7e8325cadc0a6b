//! Every function around files, streams and processes that the system's glibc exports is either hooked by
//! libiris.so or named in preload/src/table.rs with the reason why not. One that is in neither fails here, by name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "../preload/src/table.rs"]
mod table;

#[path = "support/build.rs"]
#[allow(dead_code)]
mod build;

/// A function whose name has one of these in it may touch a file, a stream, a descriptor or a process.
const PARTS: &[&str] = &[
    "open",
    "close",
    "read",
    "write",
    "seek",
    "tell",
    "sync",
    "stat",
    "trunc",
    "fallocate",
    "fadvise",
    "dup",
    "fcntl",
    "ioctl",
    "lockf",
    "flock",
    "mmap",
    "mremap",
    "splice",
    "tee",
    "sendfile",
    "copy_file",
    "fork",
    "clone",
    "exec",
    "spawn",
    "system",
    "exit",
    "chmod",
    "chown",
    "utime",
    "xattr",
    "rename",
    "link",
    "chdir",
    "chroot",
    "aio",
    "lio_",
    "getc",
    "getwc",
    "getw",
    "getdelim",
    "getline",
    "gets",
    "getws",
    "put",
    "printf",
    "scanf",
    "fwide",
    "file",
    "tmp",
    "temp",
    "daemon",
    "login_tty",
    "setbuf",
    "setvbuf",
    "flush",
    "eof",
    "ferror",
    "clearerr",
    "sendm",
    "recvm",
    "pipe",
    "ftw",
    "fts",
    "handle_at",
    "pty",
    "_IO_",
    "err",
    "warn",
    "mntent",
    "getpos",
    "setpos",
    "mkdir",
    "mknod",
    "mkfifo",
    "mkstemp",
    "mkostemp",
    "rewind",
    "purge",
    "flow",
    "memfd",
    "wordexp",
    "syscall",
    "access",
    "path",
    "remove",
    "umask",
    "unlock",
    "dirent",
    "getdents",
    "scandir",
    "glob",
    "sgetn",
    "ungetc",
];

/// Families that share a part with the above and have nothing to do with files.
const UNRELATED: &[&str] = &[
    "pthread_",
    "__pthread_",
    "_pthread_",
    "mtx_",
    "cnd_",
    "thrd_",
    "tss_",
    "sem_",
    "xdr",
    "svc",
    "clnt",
    "auth",
    "pmap_",
    "rpc",
    "__rpc_",
    "key_",
    "__key_",
    "res_",
    "__res_",
    "ns_",
    "inet",
    "ether_",
    "if_",
    "getaddrinfo",
    "gethost",
    "getnet",
    "getproto",
    "getserv",
    "getpw",
    "getgr",
    "getsp",
    "getsg",
    "getalias",
    "getrpc",
    "setalias",
    "getrpcport",
    "getnetname",
    "getpublickey",
    "getsecretkey",
    "registerrpc",
    "netname2",
    "bindresvport",
    "iruserok",
    "ruserok",
    "rresvport",
    "gai_",
    "str",
    "__str",
    "wcs",
    "__wcs",
    "mem",
    "__mem",
    "wmem",
    "wcp",
    "argz_",
    "__argz",
    "envz_",
    "obstack_free",
    "malloc",
    "posix_memalign",
    "getcpu",
    "__xpg_strerror_r",
    "sgets",
    "feget",
    "fesete",
    "feraise",
    "pvalloc",
    "valloc",
    "sched_",
    "__sched",
    "timer",
    "clock_",
    "sig",
    "__sig",
    "sys_",
    "nl_",
    "re_",
    "regerr",
    "regexec",
    "__errno",
    "__h_errno",
    "hstrerror",
    "random",
    "srandom",
    "getrandom",
    "getenv",
    "secure_getenv",
    "putenv",
    "setenv",
    "iconv",
    "gettext",
    "bindtext",
    "textdomain",
    "dcgettext",
    "dgettext",
    "ngettext",
    "dngettext",
    "dcngettext",
    "setlocale",
    "duplocale",
    "__duplocale",
    "newlocale",
    "uselocale",
    "freelocale",
    "localeconv",
    "profil",
    "sprofil",
    "__profile",
    "monstartup",
    "moncontrol",
    "dl",
    "_dl_",
    "__libc_",
    "__x86",
    "__cyg_",
    "__nss",
    "getsid",
    "getsub",
    "getopt",
    "__posix_getopt",
    "getitimer",
    "setitimer",
    "getrlimit",
    "setrlimit",
    "adjtime",
    "settime",
    "gettime",
    "ptrace",
    "personality",
    "prlimit",
    "sysctl",
    "sysinfo",
    "sysconf",
    "confstr",
    "uname",
    "authdes",
    "getservent",
    "host2",
    "user2",
    "passwd2",
    "cbc_crypt",
    "ecb_crypt",
    "des_",
    "mbr",
    "lfind",
    "bsearch",
    "setstate",
    "initstate",
    "erand48",
    "jrand48",
    "nrand48",
    "getcontext",
    "swapcontext",
    "makecontext",
    "setcontext",
    "isctype",
    "__ctype",
    "_seterr_reply",
    "setfsuid",
    "strptime",
    "getsourcefilter",
    "getipv4",
    "setipv4",
    "setsource",
    "getgrouplist",
    "parse_",
    "argp_parse",
    "__isoc99_strto",
    "c8rtomb",
    "lrand",
    "mrand",
    "errno",
    "arc4random",
    "tdestroy",
    "getutx",
    "getutm",
    "getutid",
    "getutline",
    "setutx",
    "ualarm",
    "usleep",
    "__adjtimex",
    "__gettimeofday",
    "modify_ldt",
    "ntp_",
    "_obstack",
    "__explicit",
];

fn exports(library: &Path) -> BTreeSet<String> {
    let out = Command::new("nm").args(["-D", "--defined-only"]).arg(library).output().expect("nm runs");
    assert!(out.status.success(), "nm on {}: {}", library.display(), String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout)
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let (kind, name) = (words.next()?, words.next()?);
            ("TWi".contains(kind) && !name.contains("GLIBC_PRIVATE"))
                .then(|| name.split('@').next().unwrap_or(name).to_owned())
        })
        .collect()
}

fn libc() -> PathBuf {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("this process has maps");
    let path = maps
        .lines()
        .find_map(|l| l.split_whitespace().nth(5).filter(|p| p.contains("libc.so")))
        .map(PathBuf::from);
    path.expect("glibc is mapped into this process")
}

fn left() -> BTreeSet<&'static str> {
    table::LEFT.iter().flat_map(|(_, names)| names.split_whitespace()).collect()
}

fn hooked() -> BTreeSet<&'static str> {
    table::HOOKED.iter().chain(table::ALONE).copied().collect()
}

#[test]
fn every_call_of_glibc_is_hooked_or_named() {
    let (hooked, left) = (hooked(), left());
    let related =
        |name: &str| PARTS.iter().any(|p| name.contains(p)) && !UNRELATED.iter().any(|u| name.starts_with(u));
    let unknown: Vec<_> = exports(&libc())
        .into_iter()
        .filter(|n| related(n) && !hooked.contains(n.as_str()) && !left.contains(n.as_str()))
        .collect();
    assert!(unknown.is_empty(), "neither hooked nor named in preload/src/table.rs: {}", unknown.join(" "));
}

#[test]
fn no_name_is_in_both_halves() {
    let both: Vec<_> = hooked().intersection(&left()).copied().collect();
    assert!(both.is_empty(), "hooked, and yet named with a reason why not: {}", both.join(" "));
}

#[test]
fn the_library_exports_the_table_and_nothing_else() {
    let exported = exports(&build::libiris());
    let meant: BTreeSet<String> = hooked()
        .into_iter()
        .chain(table::FOREIGN.iter().copied())
        .chain(table::OWN.iter().copied())
        .map(str::to_owned)
        .collect();
    let missing: Vec<_> = meant.difference(&exported).cloned().collect();
    let extra: Vec<_> = exported.difference(&meant).cloned().collect();
    assert!(missing.is_empty(), "in the table but not exported: {}", missing.join(" "));
    assert!(extra.is_empty(), "exported but not in the table: {}", extra.join(" "));
}

/// The shim costs every process what it links: the C library and the loader, and no more.
#[test]
fn the_library_needs_only_libc() {
    let out =
        Command::new("readelf").args(["-d", "--wide"]).arg(build::libiris()).output().expect("readelf runs");
    let text = String::from_utf8_lossy(&out.stdout);
    let needed: Vec<_> = text
        .lines()
        .filter(|l| l.contains("(NEEDED)"))
        .filter_map(|l| l.split(['[', ']']).nth(1))
        .filter(|l| !l.starts_with("libc.so") && !l.starts_with("ld-linux"))
        .collect();
    assert!(text.contains("[libiris.so]"), "no soname:\n{text}");
    assert!(needed.is_empty(), "libiris.so needs {}", needed.join(" "));
}
