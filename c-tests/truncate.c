/* truncate and ftruncate between staged writes: shrink, grow, write beyond; stale bytes never come back. */
#include "common.h"

int main(int argc, char **argv)
{
    begin(argc, argv);
    char *big = fill(grab(300000), 300000, 11), b[64];
    int fd = F(open(P("t"), O_CREAT | O_RDWR, 0644));
    R(write(fd, big, 1000));
    R(ftruncate(fd, 500));
    FSIZE(fd);
    R(ftruncate(fd, 1000));
    CONTENT(fd);
    R(write(fd, "beyond", 6));
    CONTENT(fd);
    R(ftruncate(fd, 0));
    R(lseek(fd, 0, SEEK_CUR));
    R(write(fd, "past", 4));
    CONTENT(fd);
    R(ftruncate(fd, 0));
    R(ftruncate(fd, 2000));
    R(pwrite(fd, "x", 1, 1999));
    R(pwrite(fd, "y", 1, 2000));
    CONTENT(fd);

    /* large base, small overlay, cut in the middle of each */
    R(ftruncate(fd, 0));
    R(pwrite(fd, big, 300000, 0));
    for (int i = 0; i < 100; i++)
        if (pwrite(fd, "overlay", 7, 1000 + i * 2500) != 7)
            die("pwrite");
    static const off_t cuts[] = {262145, 262144, 251003, 200000, 131072, 65537, 65536, 65535, 8192, 4097, 4096, 4095, 1003, 1};
    for (unsigned i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        R(ftruncate(fd, cuts[i]));
        FSIZE(fd);
        R(ftruncate(fd, 300000));
        CONTENT(fd);
        if (pwrite(fd, "again", 5, cuts[i] + 3) != 5)
            die("pwrite");
    }
    CONTENT(fd);
    R(close(fd));
    FILE_IS("t");

    /* by name, while staged bytes of an open descriptor exist */
    fd = F(open(P("n"), O_CREAT | O_RDWR, 0644));
    R(write(fd, big, 5000));
    R(truncate(P("n"), 100));
    FSIZE(fd);
    R(pread(fd, b, 64, 90));
    R(write(fd, "tail", 4));
    FSIZE(fd);
    R(truncate(P("n"), 10000));
    CONTENT(fd);
    R(truncate(P("n"), 0));
    R(pwrite(fd, "fresh", 5, 2));
    CONTENT(fd);
    R(close(fd));
    FILE_IS("n");
    R(symlink("n", P("ln")));
    R(truncate(P("ln"), 3));
    FILE_IS("n");

    /* another descriptor truncates */
    int a = F(open(P("m"), O_CREAT | O_RDWR, 0644)), c = F(open(P("m"), O_WRONLY));
    R(write(a, big, 3000));
    R(ftruncate(c, 1500));
    R(lseek(a, 0, SEEK_END));
    R(pread(a, b, 64, 1480));
    R(ftruncate(c, 4000));
    R(pread(a, b, 64, 1480));
    say("hash %016lx\n", (unsigned long)hash(b, 64));
    R(write(a, "end", 3));
    R(write(c, "START", 5));
    CONTENT(a);
    R(close(a));
    R(ftruncate(c, 2));
    R(close(c));
    FILE_IS("m");

    /* another process truncates, grows and writes, in turn with us */
    fd = F(open(P("p"), O_CREAT | O_RDWR, 0644));
    struct gate up = gate(), down = gate();
    pid_t pid = fork();
    if (pid == 0) {
        int f = open(P("p"), O_RDWR);
        for (int i = 0; i < 30; i++) {
            await(down, 1);
            if (ftruncate(f, 700 + i * 91) || pwrite(f, "child", 5, 650 + i * 100) != 5)
                _exit(1);
            pass(up, 1);
        }
        _exit(close(f));
    }
    for (int i = 0; i < 30; i++) {
        if (pwrite(fd, big, 900, i * 150) != 900)
            die("pwrite");
        pass(down, 1);
        await(up, 1);
        CONTENT(fd);
    }
    REAP(pid);
    R(close(fd));
    FILE_IS("p");

    /* errors */
    R(truncate(P("absent"), 5));
    R(truncate(P(""), 5));
    R(truncate(P("p"), -1));
    fd = F(open(P("p"), O_RDONLY));
    R(ftruncate(fd, 1));
    R(close(fd));
    R(ftruncate(fd, 1));
    fd = F(open(P("p"), O_WRONLY));
    R(ftruncate(fd, -1));
    R(ftruncate(fd, LONG_MAX)); /* tmpfs takes it */
    R(ftruncate(fd, 100));
    R(close(fd));
    FILE_IS("p");

    /* random mixture with a model in memory */
    size_t cap = 200000, size = 0;
    char *model = calloc(1, cap), *got = grab(cap);
    fd = F(open(P("r"), O_CREAT | O_RDWR, 0644));
    uint64_t s = 99;
    for (int k = 0; k < 1500; k++) {
        s = mix(s);
        size_t at = (s >> 8) % 120000, len = (s >> 32) % (k % 10 == 0 ? 75000 : 500);
        if (s % 8 == 0) {
            if (ftruncate(fd, (off_t)at))
                die("ftruncate");
            if (at < size)
                memset(model + at, 0, size - at);
            size = at;
        } else {
            fill(got, len, s);
            if (pwrite(fd, got, len, (off_t)at) != (ssize_t)len)
                die("pwrite");
            memcpy(model + at, got, len);
            if (len && at + len > size)
                size = at + len;
        }
        if (k % 50 == 0) {
            ssize_t n = pread(fd, got, cap, 0);
            if ((size_t)n != size || memcmp(got, model, size))
                say("step %d differs: %zd of %zu\n", k, n, size);
        }
    }
    CONTENT(fd);
    R(close(fd));
    FILE_IS("r");
    return 0;
}
