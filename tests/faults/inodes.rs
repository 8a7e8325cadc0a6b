//! A file system that gives a removed file's inode number to the next one: what was known and staged of the one is not
//! taken for the other's.

use crate::bed;
use crate::place::{Place, SmallDisk};
use std::os::unix::fs::MetadataExt;
use std::process::Command;

/// Writes old0, removes it, writes new0 and so on; each is short enough to be staged, and closed.
const WRITER: &str = r#"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
static ino_t written(const char *name)
{
    struct stat st;
    int fd = open(name, O_CREAT | O_RDWR | O_TRUNC, 0644);
    /* asked before anything is staged, which the question would send home */
    if (fd < 0 || fstat(fd, &st) || write(fd, name, strlen(name)) != (ssize_t)strlen(name) || close(fd))
        return 0;
    return st.st_ino;
}
int main(int argc, char **argv)
{
    int again = 0;
    char name[32];
    if (argc != 2 || chdir(argv[1]))
        return 2;
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "old%d", i);
        ino_t old = written(name);
        if (!old || unlink(name))
            return 3;
        /* times of birth differ, or may be the same */
        usleep(i % 2 ? 0 : 10000);
        snprintf(name, sizeof name, "new%d", i);
        again += written(name) == old;
    }
    return again ? 0 : 4;
}
"#;

#[test]
fn a_removed_files_number_is_another_files() {
    let source = tempfile::Builder::new().suffix(".c").tempfile().expect("a source");
    std::fs::write(source.path(), WRITER).expect("written");
    let source = source.path().to_str().expect("text");
    let writer = bed::compile("faults-inodes", &[source], &["-O1"]);
    for settle in ["close", "background", "drain"] {
        for flush_ms in [1, 100_000] {
            let mut place = Place::new(Some(bed::library()));
            (place.setting.settle, place.setting.flush_ms) = (settle, flush_ms);
            let _disk = SmallDisk::ext4(&place.mount);
            let status = place.under_iris(Command::new(&writer).arg(&place.mount)).status().expect("it runs");
            assert_eq!(status.code(), Some(0), "4: no inode number was used twice, {:?}", place.setting);
            place.drain().unwrap_or_else(|e| panic!("{e}, {:?}", place.setting));
            for i in 0..20 {
                let path = place.mount.join(format!("new{i}"));
                let left = std::fs::read(&path).expect("the file is there");
                assert_eq!(left, format!("new{i}").as_bytes(), "{:?}", place.setting);
                assert!(path.metadata().is_ok_and(|m| m.nlink() == 1));
            }
        }
    }
}
