/* Many short writes all over a file: those that leave gaps, those that cover each other, over old bytes and in holes,
 * through descriptors of every kind, and with no descriptor left to be had. */
#include "common.h"
#include <sys/resource.h>

#define SPAN 150000

/* `count` writes of up to 40 bytes, the last of them at the end, so that the size is known. */
static void scatter(int fd, int count, uint64_t seed)
{
    char b[40];
    for (int i = 0; i < count; i++) {
        uint64_t r = mix(seed + (uint64_t)i);
        size_t len = 1 + r % 40;
        off_t at = i == count - 1 ? SPAN : (off_t)((r >> 8) % SPAN);
        if (pwrite(fd, fill(b, len, r), len, at) != (ssize_t)len)
            die("pwrite");
    }
}

static void one(const char *name, int flags, int count, int sync)
{
    int fd = F(open(P(name), flags, 0644));
    scatter(fd, count, (uint64_t)(flags + count));
    if (sync)
        R(fsync(fd));
    if (sync)
        FILE_IS(name);
    scatter(fd, count / 2, (uint64_t)count + 7);
    R(close(fd));
    FILE_IS(name);
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    static const int kinds[] = {O_WRONLY, O_RDWR};
    char name[20];
    for (int k = 0; k < 2; k++)
        for (int old = 0; old < 2; old++)
            for (int sync = 0; sync < 2; sync++) {
                sprintf(name, "f%d%d%d", k, old, sync);
                if (old)
                    make(name, 100000, (uint64_t)k);
                one(name, kinds[k] | (old ? 0 : O_CREAT), 5000, sync);
            }

    /* two descriptors, one of which may only be read; and one that has a record lock, which must live on */
    int fd = F(open(P("two"), O_CREAT | O_WRONLY, 0644)), other = F(open(P("two"), O_RDONLY));
    scatter(fd, 4000, 3);
    R(close(fd));
    CONTENT(other);
    R(close(other));
    fd = F(open(P("locked"), O_CREAT | O_RDWR, 0644));
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 5};
    R(fcntl(fd, F_SETLK, &lock));
    scatter(fd, 4000, 4);
    R(fsync(fd));
    pid_t pid = fork();
    if (!pid) {
        lock.l_type = F_RDLCK;
        R(fcntl(fd, F_SETLK, &lock));
        _exit(0);
    }
    REAP(pid);
    R(close(fd));
    FILE_IS("locked");

    /* cut while scattered bytes wait, and written again */
    fd = F(open(P("cut"), O_CREAT | O_RDWR, 0644));
    scatter(fd, 4000, 5);
    R(ftruncate(fd, 43210));
    CONTENT(fd);
    scatter(fd, 4000, 6);
    R(close(fd));
    FILE_IS("cut");

    /* no rights to what is open already, and no number left for anything else */
    fd = F(open(P("kept"), O_CREAT | O_WRONLY, 0644));
    R(fchmod(fd, 0200));
    scatter(fd, 4000, 8);
    struct rlimit few, before;
    if (getrlimit(RLIMIT_NOFILE, &before))
        die("getrlimit");
    few = before;
    few.rlim_cur = (rlim_t)fd + 1;
    R(setrlimit(RLIMIT_NOFILE, &few));
    R(close(fd));
    R(setrlimit(RLIMIT_NOFILE, &before));
    R(chmod(P("kept"), 0644));
    FILE_IS("kept");
    return 0;
}
