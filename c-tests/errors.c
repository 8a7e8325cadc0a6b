/* What must fail, and how: bad descriptors, limits, full disks. (Rights and hard limits on sizes: rights.c.) */
#include "common.h"
#include "size_limit.h"
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>

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
    writes_up_to_a_limit(RLIM_INFINITY);

    /* RLIMIT_NOFILE */
    pid_t pid = fork();
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
