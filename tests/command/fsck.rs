//! `iris fsck` on homes on the embedded store: what is found, what goes, and what stays.

use super::bed::{Bed, library, outcome};
use iris_store::{Condition, ListRequest, Listed, Request, Store};
use iris_store_embedded::{Embedded, Options};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Makes a file of 2.5 MiB, syncs it, removes it if it is told so, and says so. Then it waits for a line, and reads the
/// file once more.
const HOLDER: &str = r#"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
static char piece[65536], back[65536];
int main(int argc, char **argv) {
    int fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC, 0644);
    for (int i = 0; i < 40; i++) {
        memset(piece, 'A' + i % 26, sizeof piece);
        if (write(fd, piece, sizeof piece) != sizeof piece) return 1;
    }
    if (fsync(fd) || (argc > 2 && unlink(argv[1]))) return 2;
    puts("ready");
    fflush(stdout);
    if (getchar() == EOF) return 3;
    for (int i = 0; i < 40; i++) {
        memset(piece, 'A' + i % 26, sizeof piece);
        if (pread(fd, back, sizeof back, i * 65536l) != sizeof back || memcmp(piece, back, sizeof back)) return 4;
    }
    return close(fd) ? 5 : 0;
}
"#;

/// A bed with a mount on the embedded store.
struct Home {
    bed: Bed,
}

impl Home {
    fn new() -> Home {
        let bed = Bed::new();
        bed.folder("store");
        bed.compile("holder", HOLDER, &["-Wall", "-Wextra", "-Werror"]);
        Home { bed }
    }

    fn mount(&self) -> String {
        format!("{}=kv:{}", self.bed.at("virt").display(), self.bed.at("store").display())
    }

    fn iris(&self, args: &[&str]) -> Command {
        let mut command = self.bed.iris(args);
        command.env("IRIS_MOUNT", self.mount());
        command
    }

    /// A program on the mount, with files of this mapper.
    fn program(&self, name: &str, mapper: &str) -> Command {
        let mut command = Command::new(name);
        command.env("LD_PRELOAD", library()).env("IRIS_TIER0_PATH", self.bed.folder("pool"));
        command.env("IRIS_MOUNT", self.mount()).env("IRIS_MAPPER", mapper);
        command
    }

    /// Runs a script with `$0` the mount.
    fn sh(&self, mapper: &str, script: &str) -> String {
        let mut command = self.program("sh", mapper);
        let (code, out, err) = outcome(command.args(["-ec", script]).arg(self.bed.at("virt")));
        assert_eq!((code, err.as_str()), (0, ""), "{script}");
        out
    }

    /// Starts a process that holds a file, and waits until it has it.
    fn holder(&self, name: &str, removed: bool) -> Holder {
        let program = self.bed.at("holder");
        let mut command = self.program(program.to_str().unwrap(), PLAIN);
        command.arg(self.bed.at("virt").join(name)).args(removed.then_some("remove"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let holder = Holder(child);
        assert_eq!(line, "ready\n");
        holder
    }

    fn store(&self) -> Embedded {
        Embedded::open(&Options::new(self.bed.at("store")), "kv:test").unwrap()
    }

    fn keys(&self) -> Vec<String> {
        let list = ListRequest { prefix: b"", after: b"", delimiter: None, limit: 10_000 };
        let page = self.store().list(&list).unwrap();
        assert_eq!(page.next, None);
        let key = |entry| match entry {
            Listed::Object(key, _) => String::from_utf8(key).unwrap(),
            Listed::Prefix(_) => unreachable!("no delimiter was given"),
        };
        page.entries.into_iter().map(key).collect()
    }

    fn put(&self, key: &str, bytes: &[u8]) {
        let condition = Condition::Always;
        self.store().one(Request::Put { key: key.as_bytes(), bytes, condition, meta: &[] }).unwrap();
    }

    /// Control files.
    fn controls(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.bed.at("store/control")).unwrap();
        let is_one = |p: &PathBuf| p.file_name().is_some_and(|n| n.len() == 16);
        entries.map(|e| e.unwrap().path()).filter(is_one).collect()
    }

    /// What `iris fsck` finds with these options.
    fn fsck(&self, options: &[&str]) -> Vec<Value> {
        let args = [&["fsck", "virt", "--json"][..], options].concat();
        let (code, out, err) = outcome(&mut self.iris(&args));
        let report: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{code} {out} {err}: {e}"));
        let findings = report["findings"].as_array().unwrap().clone();
        assert_eq!(code, i32::from(!findings.is_empty()), "{out}{err}");
        assert_eq!(err, "");
        findings
    }
}

/// A process that does not outlive a test that fails.
struct Holder(Child);

impl Holder {
    /// It reads its file, and ends.
    fn ends(mut self) {
        self.0.stdin.take().unwrap().write_all(b"\n").unwrap();
        assert_eq!(self.0.wait().unwrap().code(), Some(0), "it reads what it wrote");
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It may have ended, which is as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const PLAIN: &str = "balanced:bucket=1MiB";

/// What a finding says, as a line of words.
fn is(finding: &Value, what: &str, fate: &str) -> bool {
    finding["what"] == what && finding["fate"] == fate
}

#[test]
fn a_home_without_fault_is_clean() {
    let home = Home::new();
    home.sh(
        PLAIN,
        "mkdir -p $0/d/e; head -c 3000000 /dev/urandom >$0/a; : >$0/empty; truncate -s 5M $0/sparse; ln $0/a $0/d/b
         ln -s a $0/l; echo x >>$0/a; head -c 9000 /dev/urandom >$0/d/e/f; truncate -s 100 $0/d/e/f",
    );
    for mapper in ["naive", "balanced:bucket=128KiB", "write-optimized", "read-optimized", "auto"] {
        let file = mapper.replace(':', "-");
        home.sh(
            mapper,
            &format!(
                "f=$0/{file}; head -c 2000000 /dev/urandom >$f
                 for at in 70000 10 1999990; do printf changed | dd of=$f bs=1 seek=$at conv=notrunc status=none; done
                 truncate -s 1500000 $f; truncate -s 4000000 $f; head -c 100 /dev/zero >>$f"
            ),
        );
    }
    assert_eq!(home.fsck(&[]), [Value::Null; 0]);
    let (code, out, _) = outcome(&mut home.iris(&["fsck", "virt"]));
    let objects = format!("9 files, {} objects: nothing is wrong.", home.keys().len());
    assert!(code == 0 && out.contains(&objects), "{out}");
}

#[test]
fn what_is_nobodys_is_found_and_deleted() {
    let home = Home::new();
    home.sh(PLAIN, "head -c 1500000 /dev/urandom >$0/kept");
    let (kept, sum) = (home.keys(), home.sh(PLAIN, "cksum <$0/kept"));
    for next_owner in [false, true] {
        drop(home.holder("gone", true));
        let left = home.keys();
        assert_eq!(left.len(), kept.len() + 3, "this test needs objects of a removed file");
        let found = home.fsck(&[]);
        assert!(found.len() == 1 && is(&found[0], "control", "removable"), "{found:?}");
        assert_eq!((&found[0]["objects"], &found[0]["bytes"]), (&3.into(), &(40 * 65536).into()));
        if next_owner {
            // As the next file does that gets its inode number.
            std::fs::remove_file(found[0]["path"].as_str().unwrap()).unwrap();
            let found = home.fsck(&[]);
            assert!(found.len() == 1 && is(&found[0], "orphan", "removable"), "{found:?}");
            let start = found[0]["key"].as_str().unwrap();
            assert_eq!(left.iter().filter(|k| k.starts_with(start)).count(), 3);
            let (code, out, _) = outcome(&mut home.iris(&["fsck", "virt"]));
            assert!(code == 1 && out.contains(start) && out.contains("`--repair` deletes it"), "{out}");
        }
        assert_eq!(home.keys(), left, "only a repair deletes");
        let (code, out, _) = outcome(&mut home.iris(&["fsck", "virt", "--repair"]));
        assert!(code == 1 && out.contains(": deleted\n") && out.contains("1 put right."), "{out}");
        assert_eq!(home.keys(), kept);
        assert_eq!(home.fsck(&[]), [Value::Null; 0]);
    }
    assert_eq!(home.sh(PLAIN, "cksum <$0/kept"), sum);
}

#[test]
fn what_a_living_process_has_stays() {
    let home = Home::new();
    let named = home.holder("named", false);
    let kept = home.keys();
    let gone = home.holder("gone", true);
    let all = home.keys();
    assert_eq!((kept.len(), all.len()), (3, 6));
    assert_eq!(home.fsck(&["--repair", "--unused"]), [Value::Null; 0]);
    assert_eq!(home.keys(), all);
    named.ends();
    gone.ends();
    // A process that ends at once may leave what it has removed; nobody has it any more.
    home.fsck(&["--repair"]);
    assert_eq!(home.keys(), kept);
    assert_eq!(home.fsck(&[]), [Value::Null; 0]);
}

/// Files are made, moved between directories, read from the store and removed while one repair follows another.
#[test]
fn repairs_take_nothing_from_programs_at_work() {
    let home = Home::new();
    let (sums, stop) = (home.bed.folder("sums"), home.bed.at("stop"));
    let script = "
        i=0
        mkdir $0/d0 $0/d1 $0/d2
        while [ ! -e $2 ]; do
            i=$((i + 1)); d=$0/d$((i % 3))
            head -c 300000 /dev/urandom >$d/f; sum=$(cksum <$d/f)
            mv $d/f $0/f$i; mv $0/f$i $0/d$(((i + 1) % 3))/f$i
            [ \"$(cksum <$0/d$(((i + 1) % 3))/f$i)\" = \"$sum\" ] || exit 9
            if [ $((i % 2)) = 0 ]; then rm $0/d$(((i + 1) % 3))/f$i; else echo \"$sum\" >$1/$i; fi
        done";
    let mut worker = home.program("sh", "write-optimized");
    worker.args(["-ec", script]).arg(home.bed.at("virt")).args([&sums, &stop]);
    let mut worker = Holder(worker.stdin(Stdio::null()).spawn().unwrap());
    let mut rounds = 0;
    while rounds < 12 || std::fs::read_dir(&sums).unwrap().count() < 6 {
        assert_eq!(worker.0.try_wait().unwrap(), None, "it works until it is told to end");
        rounds += 1;
        let (code, out, err) = outcome(&mut home.iris(&["fsck", "virt", "--repair"]));
        // A file is found that is being removed, now and then.
        assert!(code <= 1 && !out.contains("missing") && !out.contains("put the file back"), "{out}{err}");
    }
    std::fs::write(&stop, b"").unwrap();
    assert_eq!(worker.0.wait().unwrap().code(), Some(0), "what was written is read");
    assert_eq!(outcome(&mut home.iris(&["drain", "--release"])).0, 0);
    assert_eq!(home.fsck(&[]), [Value::Null; 0]);
    let made: Vec<_> = std::fs::read_dir(&sums).unwrap().map(|e| e.unwrap().file_name()).collect();
    for name in made {
        let i: u32 = name.to_str().unwrap().parse().unwrap();
        let sum = std::fs::read_to_string(sums.join(&name)).unwrap();
        assert_eq!(home.sh(PLAIN, &format!("cksum <$0/d{}/f{i}", (i + 1) % 3)), sum, "f{i}");
    }
}

#[test]
fn files_that_have_lost_something_are_named() {
    let home = Home::new();
    home.sh("write-optimized", "head -c 900000 /dev/urandom >$0/whole");
    let before = home.keys();
    home.sh("write-optimized", "mkdir $0/d; head -c 900000 /dev/urandom >$0/d/lacking");
    let lacking: Vec<String> = home.keys().into_iter().filter(|k| !before.contains(k)).collect();
    let before = home.keys();
    home.sh("write-optimized", "head -c 900000 /dev/urandom >$0/torn");
    let torn: Vec<String> = home.keys().into_iter().filter(|k| !before.contains(k)).collect();

    let object = lacking.iter().find(|k| !k.contains("1:log")).unwrap();
    home.store().one(Request::Delete { key: object.as_bytes() }).unwrap();
    let commit = torn.iter().find(|k| k.contains("1:log:")).unwrap();
    home.put(commit, b"no commit");

    let all = home.keys();
    let found = home.fsck(&["--repair"]);
    let of = |name: &str| found.iter().find(|f| f["file"] == name).unwrap_or_else(|| panic!("{found:?}"));
    assert!(found.len() == 2, "{found:?}");
    assert!(is(of("d/lacking"), "lost", "told") && of("d/lacking")["key"] == **object, "{found:?}");
    assert!(is(of("torn"), "damaged", "told"), "{found:?}");
    assert!(of("torn")["text"].as_str().unwrap().contains(commit), "{found:?}");
    assert_eq!(home.keys(), all);
}

#[test]
fn objects_that_no_index_knows_go_and_the_file_stays() {
    let home = Home::new();
    for (mapper, name) in [(PLAIN, "plain"), ("write-optimized", "logged")] {
        let before = home.keys();
        home.sh(mapper, &format!("head -c 1500000 /dev/urandom >$0/{name}"));
        let sum = home.sh(mapper, &format!("cksum <$0/{name}"));
        let kept = home.keys();
        let data = kept.iter().find(|k| !before.contains(k) && !k.contains("1:log")).unwrap();
        let stray = format!("{}000000000fff", data.strip_suffix(data.rsplit(':').next().unwrap()).unwrap());
        home.put(&stray, b"left");
        let found = home.fsck(&[]);
        assert!(found.len() == 1 && is(&found[0], "leftover", "removable"), "{found:?}");
        assert_eq!((found[0]["file"].as_str(), found[0]["key"].as_str()), (Some(name), Some(&*stray)));
        assert!(home.keys().contains(&stray));
        let found = home.fsck(&["--repair"]);
        assert!(found.len() == 1 && is(&found[0], "leftover", "repaired"), "{found:?}");
        assert_eq!(home.keys(), kept);
        outcome(&mut home.iris(&["drain", "--release"]));
        assert_eq!(home.sh(mapper, &format!("cksum <$0/{name}")), sum, "read from the store");
    }
}

#[test]
fn nothing_goes_that_a_file_may_need_whose_objects_are_not_known() {
    let home = Home::new();
    home.sh(PLAIN, "head -c 1500000 /dev/urandom >$0/f");
    let (sum, all) = (home.sh(PLAIN, "cksum <$0/f"), home.keys());
    assert_eq!(outcome(&mut home.iris(&["drain", "--release"])).0, 0);
    let [control] = &home.controls()[..] else { panic!("one file has one control file") };
    let aside = home.bed.at("aside");
    std::fs::rename(control, &aside).unwrap();
    let found = home.fsck(&["--repair", "--unused"]);
    assert!(found.len() == 2 && found.iter().any(|f| is(f, "orphan", "kept")), "{found:?}");
    assert!(found.iter().any(|f| is(f, "unclaimed", "told") && f["file"] == "f"), "{found:?}");
    assert_eq!(home.keys(), all);
    std::fs::rename(&aside, control).unwrap();
    assert_eq!(home.fsck(&[]), [Value::Null; 0]);
    assert_eq!(home.sh(PLAIN, "cksum <$0/f"), sum);
}

#[test]
fn keys_of_others_are_shown_and_left_alone() {
    let home = Home::new();
    home.put("iris-bench:0", b"x");
    let found = home.fsck(&["--repair", "--unused"]);
    assert!(found.len() == 1 && is(&found[0], "foreign", "told"), "{found:?}");
    assert_eq!((home.keys(), found[0]["key"].as_str()), (vec!["iris-bench:0".into()], Some("iris-bench:0")));
}

#[test]
fn what_cannot_be_looked_at_is_told_with_exit_code_2() {
    let home = Home::new();
    let (code, out, err) = outcome(&mut home.iris(&["fsck", "nowhere"]));
    assert!(
        (code, out.as_str()) == (2, "") && err.contains("nowhere: no mount") && err.contains("/virt"),
        "{err}"
    );
    home.bed.folder("data");
    let mut bare = home.bed.iris(["fsck", "data"]);
    let (code, _, err) = outcome(&mut bare);
    assert!(code == 2 && err.contains("--mount /virt="), "{err}");
    let (code, out, _) = outcome(&mut home.bed.iris(["fsck", "data", "--mount", "data"]));
    assert!(code == 0 && out.contains("there is nothing to check"), "{out}");
    home.sh(PLAIN, "echo x >$0/f");
    // A store whose directory is something else.
    std::fs::remove_dir_all(home.bed.at("store/objects")).unwrap();
    std::fs::write(home.bed.at("store/objects"), b"").unwrap();
    let (code, out, err) = outcome(&mut home.iris(&["fsck", "virt"]));
    assert!((code, out.as_str()) == (2, "") && err.contains("store"), "{err}");
}

#[test]
fn a_crawl_of_names_that_are_all_here_is_needless() {
    let home = Home::new();
    home.bed.folder("data");
    let (code, out, err) = outcome(&mut home.iris(&["crawl", "virt"]));
    assert!((code, err.as_str()) == (0, "") && out.contains("there is nothing to load ahead"), "{out}{err}");
    let (code, out, _) = outcome(&mut home.bed.iris(["crawl", "data", "--mount", "data"]));
    assert!(code == 0 && out.contains("there is nothing to load ahead"), "{out}");
    assert_eq!(outcome(&mut home.iris(&["crawl", "nowhere"])).0, 2);
}
