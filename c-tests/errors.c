/* What must fail, and how: bad descriptors, permissions, limits, full disks. */
#include "common.h"
#include <grp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>

static void as_nobody(void)
{
    int fd = F(open(P("secret"), O_RDONLY));
    fd = F(open(P("readable"), O_RDONLY));
    CONTENT(fd);
    R(write(fd, "x", 1));
    R(fchmod(fd, 0777));
    R(futimens(fd, (struct timespec[]){{1, 0}, {1, 0}}));
    R(close(fd));
    F(open(P("readable"), O_RDWR));
    F(open(P("readable"), O_RDONLY | O_TRUNC));
    F(open(P("readable"), O_RDONLY | O_NOATIME));
    F(open(P("new"), O_CREAT | O_RDWR, 0644));
    R(truncate(P("readable"), 0));
    R(unlink(P("readable")));
    R(rename(P("readable"), P("r2")));
    R(mkdir(P("nd"), 0755));
    F(open(P("closed/f"), O_RDONLY));
    R(access(P("closed/f"), F_OK));
    fd = F(open(P("open/mine"), O_CREAT | O_RDWR, 0600));
    R(write(fd, "nobody's own", 12));
    R(fchmod(fd, 0));
    R(write(fd, ", still open", 12));
    F(open(P("open/mine"), O_RDWR));
    R(fchmod(fd, 0644));
    R(close(fd));
    FILE_IS("open/mine");
    fd = F(open(P("writeonly"), O_WRONLY | O_APPEND));
    R(write(fd, " by nobody", 10));
    R(close(fd));
    F(open(P("writeonly"), O_RDONLY));
    fd = F(open(P("shared"), O_RDWR));
    R(pwrite(fd, "NOBODY", 6, 3));
    CONTENT(fd);
    R(close(fd));
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    char b[5000];
    int fd = F(open(P("f"), O_CREAT | O_RDWR, 0644));
    memset(b, 'b', sizeof b);
    R(write(fd, b, sizeof b));

    /* EBADF, EINVAL, ESPIPE, EISDIR */
    static const int bad[] = {-1, 99, 1 << 20, INT_MAX, INT_MIN};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        int x = bad[i];
        R(read(x, b, 1));
        R(write(x, b, 1));
        R(pread(x, b, 1, 0));
        R(pwrite(x, b, 1, 0));
        R(lseek(x, 0, SEEK_SET));
        R(close(x));
        R(fsync(x));
        R(ftruncate(x, 0));
        R(dup(x));
        R(fcntl(x, F_GETFL));
    }

    /* RLIMIT_FSIZE */
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGXFSZ, SIG_IGN);
        struct rlimit l = {10000, 10000};
        R(setrlimit(RLIMIT_FSIZE, &l));
        int f = F(open(P("limited"), O_CREAT | O_RDWR, 0644));
        R(write(f, b, 5000));
        R(write(f, b, 4000));
        R(write(f, b, 4000));
        R(write(f, b, 10));
        R(pwrite(f, b, 10, 9995));
        R(pwrite(f, b, 10, 10000));
        R(pwrite(f, b, 10, 20000));
        R(ftruncate(f, 20000));
        R(pwrite(f, b, 10, 5));
        FSIZE(f);
        R(close(f));
        signal(SIGXFSZ, SIG_DFL);
        f = F(open(P("limited"), O_RDWR));
        R(pwrite(f, b, 10, 15000));
        _exit(0);
    }
    REAP(pid);
    FILE_IS("limited");

    /* RLIMIT_NOFILE */
    pid = fork();
    if (pid == 0) {
        struct rlimit l = {30, 30};
        R(setrlimit(RLIMIT_NOFILE, &l));
        int last = -1, n = 0;
        for (;;) {
            char name[20];
            snprintf(name, sizeof name, "n%d", n);
            int x = open(P(name), O_CREAT | O_RDWR, 0644);
            if (x < 0) {
                say("open %s\n", ename(errno));
                break;
            }
            if (write(x, "some", 4) != 4)
                say("write %s\n", ename(errno));
            last = x;
            n++;
        }
        say("opened up to %d\n", last);
        R(dup(last));
        R(dup2(last, 30));
        R(write(last, "more", 4));
        R(fsync(last));
        CONTENT(last);
        R(close(last));
        F(open(P("n0"), O_RDWR));
        _exit(0);
    }
    REAP(pid);
    FILE_IS("n3");

    /* permissions */
    make("secret", 10, 1);
    make("readable", 10, 1);
    make("writeonly", 10, 1);
    make("shared", 10, 1);
    R(chmod(P("secret"), 0600));
    R(chmod(P("writeonly"), 0622));
    R(chmod(P("shared"), 0666));
    R(mkdir(P("closed"), 0700));
    make("closed/f", 10, 1);
    R(mkdir(P("open"), 01777));
    R(chmod(P("open"), 01777));
    int keep = F(open(P("secret"), O_RDWR));
    R(pwrite(keep, "kept", 4, 0));
    int mine = F(open(P("shared"), O_RDWR));
    R(write(mine, "root", 4));
    pid = fork();
    if (pid == 0) {
        R(setgroups(0, NULL));
        R(setgid(65534));
        R(setuid(65534));
        as_nobody();
        R(write(keep, "inherited", 9)); /* opened before: the right stays */
        CONTENT(keep);
        _exit(0);
    }
    REAP(pid);
    CONTENT(keep);
    CONTENT(mine);
    R(write(mine, " again", 6));
    R(close(mine));
    R(close(keep));
    FILE_IS("secret");
    FILE_IS("shared");
    FILE_IS("writeonly");

    /* a full and a read-only file system below, in a mount namespace of our own */
    R(mkdir(P("tiny"), 0755));
    pid = fork();
    if (pid == 0) {
        if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
            mount("none", P("tiny"), "tmpfs", 0, "size=256k")) {
            say("no mount namespace here: %s\n", ename(errno));
            _exit(0);
        }
        int f = F(open(P("tiny/f"), O_CREAT | O_RDWR, 0644));
        long total = 0, refused = 0;
        for (int i = 0; i < 100; i++) {
            ssize_t n = write(f, b, sizeof b);
            if (n > 0)
                total += n;
            else if (errno == ENOSPC)
                refused++;
            else
                say("write %s\n", ename(errno));
        }
        /* bytes may be acknowledged only if they have a place: in the end the file holds what was promised */
        int fs = fsync(f), fe = fs ? errno : 0;
        say("some refused %d\n", refused > 0 || fe == ENOSPC);
        int c = close(f);
        say("closed %d\n", c == 0 || errno == ENOSPC);
        R(unlink(P("tiny/f")));
        f = F(open(P("tiny/g"), O_CREAT | O_RDWR, 0644));
        R(write(f, "room again", 10));
        R(fsync(f));
        CONTENT(f);
        R(close(f));
        R(mount("none", P("tiny"), NULL, MS_REMOUNT | MS_RDONLY, NULL));
        F(open(P("tiny/g"), O_RDWR));
        F(open(P("tiny/h"), O_CREAT | O_RDWR, 0644));
        f = F(open(P("tiny/g"), O_RDONLY));
        CONTENT(f);
        R(unlink(P("tiny/g")));
        _exit(0);
    }
    REAP(pid);
    R(rmdir(P("tiny")));
    R(close(fd));
    FILE_IS("f");
    return 0;
}
