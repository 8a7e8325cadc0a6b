/* Sizes as every kind of stat shows them after each staged write, truncate and append. */
#include "common.h"
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

static void sizes(int fd, const char *name)
{
    struct stat a, b, c, d, e;
    struct stat64 f, g;
    struct statx x, y, z;
    int dir = open(P(""), O_RDONLY | O_DIRECTORY);
    int bad = 0;
    bad += fstat(fd, &a) != 0;
    bad += stat(P(name), &b) != 0;
    bad += lstat(P(name), &c) != 0;
    bad += fstatat(dir, name, &d, 0) != 0;
    bad += fstatat(fd, "", &e, AT_EMPTY_PATH) != 0;
    bad += fstat64(fd, &f) != 0;
    bad += stat64(P(name), &g) != 0;
    bad += statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &x) != 0;
    bad += statx(AT_FDCWD, P(name), 0, STATX_SIZE, &y) != 0;
    bad += statx(dir, name, AT_SYMLINK_NOFOLLOW | AT_STATX_FORCE_SYNC, STATX_ALL, &z) != 0;
    off_t end = lseek(fd, 0, SEEK_END);
    say("sizes %ld %ld %ld %ld %ld %ld %ld %ld %ld %ld end %ld bad %d same inode %d\n", (long)a.st_size, (long)b.st_size,
        (long)c.st_size, (long)d.st_size, (long)e.st_size, (long)f.st_size, (long)g.st_size, (long)x.stx_size,
        (long)y.stx_size, (long)z.stx_size, (long)end, bad, a.st_ino == b.st_ino && b.st_ino == x.stx_ino);
    close(dir);
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    int fd = F(open(P("f"), O_CREAT | O_RDWR, 0640));
    static const size_t steps[] = {1, 10, 63, 100, 511, 4096, 65535, 65536, 70000, 3, 200000, 1};
    char *b = fill(grab(200000), 200000, 1);
    sizes(fd, "f");
    for (unsigned i = 0; i < sizeof steps / sizeof *steps; i++) {
        R(write(fd, b, steps[i]));
        sizes(fd, "f");
    }
    R(pwrite(fd, "gap", 3, 1000000));
    sizes(fd, "f");
    R(ftruncate(fd, 999));
    sizes(fd, "f");
    R(pwrite(fd, "gap", 3, 999));
    sizes(fd, "f");
    R(fsync(fd));
    sizes(fd, "f");
    struct stat st;
    fstat(fd, &st);
    say("mode %o links %ld uid %d gid %d blksize %ld\n", st.st_mode, (long)st.st_nlink, st.st_uid, st.st_gid,
        (long)st.st_blksize);
    R(link(P("f"), P("g")));
    fstat(fd, &st);
    say("links %ld\n", (long)st.st_nlink);
    R(pwrite(fd, "xyz", 3, 1500));
    sizes(fd, "g");

    /* blocks: data that is written takes room on disk once it is settled */
    R(pwrite(fd, b, 60000, 0));
    R(fsync(fd));
    fstat(fd, &st);
    say("has blocks %d\n", st.st_blocks > 100);
    R(close(fd));
    stat(P("f"), &st);
    say("closed: size %ld\n", (long)st.st_size);

    /* another process sees the same */
    fd = F(open(P("h"), O_CREAT | O_RDWR, 0644));
    struct gate go = gate(), ok = gate();
    pid_t pid = fork();
    if (pid == 0) {
        int own = open(P("h"), O_RDWR);
        for (int i = 0; i < 10; i++) {
            await(go, 1);
            sizes(own, "h");
            pass(ok, 1);
        }
        _exit(0);
    }
    for (int i = 0; i < 10; i++) {
        if (i == 6)
            R(ftruncate(fd, 50));
        else
            R(write(fd, b, (size_t)(i + 1) * 37));
        pass(go, 1);
        await(ok, 1);
    }
    REAP(pid);
    R(close(fd));

    /* statfs and statvfs answer for the file system below */
    struct statfs fs, ffs;
    struct statvfs vfs;
    fd = F(open(P("f"), O_RDONLY));
    R(statfs(P("f"), &fs));
    R(fstatfs(fd, &ffs));
    R(statvfs(P("f"), &vfs));
    say("type %lx %lx bsize %ld namelen %ld %ld\n", (long)fs.f_type, (long)ffs.f_type, (long)fs.f_bsize,
        (long)fs.f_namelen, (long)vfs.f_namemax);
    R(close(fd));

    /* errors */
    R(stat(P("absent"), &st));
    R(lstat(P("absent"), &st));
    R(fstat(fd, &st));
    R(stat("", &st));
    R(stat(P("f/x"), &st));
    R(fstatat(AT_FDCWD, "", &st, 0));
    R(fstatat(AT_FDCWD, P("f"), &st, 0x40000000));
    struct statx x;
    R(statx(AT_FDCWD, P("absent"), 0, STATX_SIZE, &x));
    R(statx(-1, "", AT_EMPTY_PATH, STATX_SIZE, &x));
    R(syscall(SYS_stat, P("f"), &st));
    say("raw %ld\n", (long)st.st_size);
    return 0;
}
