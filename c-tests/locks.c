/* fcntl locks, open file description locks, flock and lockf between processes; what a close releases. */
#include "common.h"
#include <sys/file.h>

static struct flock lk(short type, off_t start, off_t len)
{
    struct flock l;
    memset(&l, 0, sizeof l);
    l.l_type = type;
    l.l_whence = SEEK_SET;
    l.l_start = start;
    l.l_len = len;
    return l;
}

static void probe(int line, int fd, int cmd, short type, off_t start, off_t len)
{
    struct flock l = lk(type, start, len);
    int r = fcntl(fd, cmd, &l);
    if (r < 0)
        say("%d: probe %s\n", line, ename(errno));
    else
        say("%d: probe type %d start %ld len %ld held by %s\n", line, l.l_type, (long)l.l_start, (long)l.l_len,
            l.l_type == F_UNLCK ? "none" : l.l_pid == getppid() ? "parent" : l.l_pid == -1 ? "description" : "another");
}
#define PROBE(...) probe(__LINE__, __VA_ARGS__)

static void in_child(void (*f)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        f();
        _exit(0);
    }
    REAP(pid);
}

static void try_record(void)
{
    int fd = open(P("l"), O_RDWR);
    PROBE(fd, F_GETLK, F_WRLCK, 0, 0);
    PROBE(fd, F_GETLK, F_RDLCK, 100, 10);
    struct flock l = lk(F_WRLCK, 100, 10);
    R(fcntl(fd, F_SETLK, &l));
    l = lk(F_WRLCK, 200, 10);
    R(fcntl(fd, F_SETLK, &l));
}
static void try_flock(void)
{
    int fd = open(P("l"), O_RDWR);
    R(flock(fd, LOCK_EX | LOCK_NB));
    R(flock(fd, LOCK_SH | LOCK_NB));
    R(flock(fd, LOCK_UN));
}
static void try_ofd(void)
{
    int fd = open(P("l"), O_RDWR);
    struct flock l = lk(F_WRLCK, 0, 50);
    R(fcntl(fd, F_OFD_SETLK, &l));
    PROBE(fd, F_OFD_GETLK, F_WRLCK, 0, 50);
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    int fd = F(open(P("l"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "staged while locked", 19));

    /* record locks */
    struct flock l = lk(F_WRLCK, 100, 10);
    R(fcntl(fd, F_SETLK, &l));
    in_child(try_record);
    R(pwrite(fd, "more", 4, 100));
    in_child(try_record);
    l = lk(F_RDLCK, 100, 5);
    R(fcntl(fd, F_SETLK, &l));
    in_child(try_record);
    l = lk(F_UNLCK, 100, 10);
    R(fcntl(fd, F_SETLK, &l));
    in_child(try_record);
    /* any close of the file releases the process' locks, as POSIX has it */
    l = lk(F_WRLCK, 0, 0);
    R(fcntl(fd, F_SETLKW, &l));
    int other = F(open(P("l"), O_RDONLY));
    in_child(try_record);
    R(close(other));
    in_child(try_record);
    /* our own reading by another name must not release them: stat does not */
    R(fcntl(fd, F_SETLK, &l));
    NSIZE("l");
    R(pwrite(fd, "x", 1, 300));
    R(fsync(fd));
    in_child(try_record);
    int d = F(dup(fd));
    R(close(d)); /* releases too */
    in_child(try_record);
    l = lk(F_WRLCK, -5, 10);
    R(fcntl(fd, F_SETLK, &l));
    l = lk(9, 0, 10);
    R(fcntl(fd, F_SETLK, &l));
    int ro = F(open(P("l"), O_RDONLY));
    l = lk(F_WRLCK, 0, 10);
    R(fcntl(ro, F_SETLK, &l));
    R(close(ro));

    /* flock belongs to the description */
    R(flock(fd, LOCK_EX));
    in_child(try_flock);
    d = F(dup(fd));
    R(close(d));
    in_child(try_flock);
    R(flock(fd, LOCK_SH));
    in_child(try_flock);
    R(write(fd, "under a shared lock", 19));
    R(flock(fd, LOCK_UN));
    in_child(try_flock);
    R(flock(fd, 77));
    R(flock(-1, LOCK_SH));
    R(flock(fd, LOCK_EX));
    pid_t pid = fork();
    if (pid == 0) {
        R(flock(fd, LOCK_UN)); /* the child shares the description: this unlocks */
        _exit(0);
    }
    REAP(pid);
    in_child(try_flock);

    /* OFD locks: not released by another descriptor's close */
    l = lk(F_WRLCK, 0, 100);
    R(fcntl(fd, F_OFD_SETLK, &l));
    other = F(open(P("l"), O_RDWR));
    PROBE(other, F_OFD_GETLK, F_WRLCK, 10, 10);
    l = lk(F_WRLCK, 10, 10);
    R(fcntl(other, F_OFD_SETLK, &l));
    R(write(other, "by the other", 12));
    R(close(other));
    in_child(try_ofd);
    R(close(fd));
    in_child(try_ofd);

    /* lockf */
    fd = F(open(P("l"), O_RDWR));
    R(lseek(fd, 100, SEEK_SET));
    R(lockf(fd, F_LOCK, 10));
    in_child(try_record);
    R(lockf(fd, F_TEST, 10));
    R(write(fd, "0123456789", 10));
    R(lseek(fd, -10, SEEK_CUR));
    R(lockf(fd, F_ULOCK, 10));
    R(lockf(fd, F_TLOCK, -5));
    in_child(try_record);
    R(close(fd));

    /* a counter that four processes raise under a lock: no step is lost, whatever kind of lock */
    for (int kind = 0; kind < 3; kind++) {
        make("counter", 0, 0);
        fd = open(P("counter"), O_RDWR);
        R(pwrite(fd, "0000000", 7, 0));
        R(close(fd));
        for (int p = 0; p < 4; p++)
            if (fork() == 0) {
                int f = open(P("counter"), O_RDWR);
                for (int i = 0; i < 150; i++) {
                    struct flock w = lk(F_WRLCK, 0, 0);
                    int r = kind == 0 ? fcntl(f, F_SETLKW, &w) : kind == 1 ? flock(f, LOCK_EX) : fcntl(f, F_OFD_SETLKW, &w);
                    char b[8] = "";
                    if (r || pread(f, b, 7, 0) != 7)
                        _exit(1);
                    int n = snprintf(b, sizeof b, "%07d", atoi(b) + 1);
                    if (pwrite(f, b, (size_t)n, 0) != n)
                        _exit(2);
                    w = lk(F_UNLCK, 0, 0);
                    r = kind == 0 ? fcntl(f, F_SETLK, &w) : kind == 1 ? flock(f, LOCK_UN) : fcntl(f, F_OFD_SETLK, &w);
                    if (r)
                        _exit(3);
                }
                _exit(0);
            }
        for (int p = 0; p < 4; p++) {
            int st;
            wait(&st);
            if (st)
                say("status %x\n", st);
        }
        FILE_IS("counter");
    }

    /* a lock that is released by closing: the bytes written under it are there for the next holder */
    struct gate got = gate();
    pid = fork();
    if (pid == 0) {
        int f = open(P("handover"), O_CREAT | O_RDWR, 0644);
        struct flock w = lk(F_WRLCK, 0, 0);
        fcntl(f, F_SETLKW, &w);
        if (write(f, "written under the lock", 22) != 22)
            _exit(1);
        pass(got, 1);
        close(f);
        _exit(0);
    }
    await(got, 1);
    fd = F(open(P("handover"), O_RDWR));
    l = lk(F_WRLCK, 0, 0);
    R(fcntl(fd, F_SETLKW, &l));
    CONTENT(fd);
    REAP(pid);
    R(close(fd));
    FILE_IS("l");
    return 0;
}
