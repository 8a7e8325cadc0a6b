/* lseek: every whence, beyond the end, errors, and SEEK_DATA and SEEK_HOLE over staged bytes. */
#include "common.h"

static void map(int fd)
{
    off_t at = 0;
    for (int i = 0; i < 40; i++) {
        off_t d = lseek(fd, at, SEEK_DATA);
        if (d < 0) {
            say("  map: end (%s)\n", ename(errno));
            return;
        }
        off_t h = lseek(fd, d, SEEK_HOLE);
        say("  map: data %ld..%ld\n", (long)d, (long)h);
        if (h < 0)
            return;
        at = h;
    }
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    char b[100] = "";
    int fd = F(open(P("s"), O_CREAT | O_RDWR, 0644));
    R(lseek(fd, 0, SEEK_END));
    R(lseek(fd, 10, SEEK_SET));
    R(write(fd, "0123456789", 10));
    R(lseek(fd, 0, SEEK_CUR));
    R(lseek(fd, 0, SEEK_END));
    R(lseek(fd, -5, SEEK_END));
    R(read(fd, b, 100));
    say("%.5s\n", b);
    R(lseek(fd, -21, SEEK_END));
    R(lseek(fd, -1, SEEK_SET));
    R(lseek(fd, -100, SEEK_CUR));
    R(lseek(fd, 0, SEEK_CUR));
    R(lseek(fd, 5, SEEK_END));
    R(read(fd, b, 10));
    R(write(fd, "far", 3));
    R(lseek(fd, 0, SEEK_CUR));
    FSIZE(fd);
    R(lseek(fd, LONG_MAX, SEEK_SET));
    R(lseek(fd, LONG_MAX, SEEK_CUR));
    R(lseek(fd, LONG_MAX, SEEK_END));
    R(lseek(fd, 1L << 43, SEEK_SET));
    R(read(fd, b, 1));
    R(lseek(fd, 1L << 50, SEEK_SET));
    R(lseek(fd, 0, 99));
    R(lseek(fd, 0, -1));
    R(lseek(fd, 0, SEEK_CUR) >= 0);
    R(lseek(fd, 3, SEEK_SET));
    R(read(fd, b, 12));
    R(lseek(fd, -2, SEEK_CUR));
    R(read(fd, b, 3));
    say("%02x %02x %02x\n", b[0] & 255, b[1] & 255, b[2] & 255);
    CONTENT(fd);

    /* SEEK_DATA, SEEK_HOLE: errors and simple files */
    R(lseek(fd, 0, SEEK_DATA));
    R(lseek(fd, 0, SEEK_HOLE));
    R(lseek(fd, 27, SEEK_DATA));
    R(lseek(fd, 28, SEEK_DATA));
    R(lseek(fd, 28, SEEK_HOLE));
    R(lseek(fd, 29, SEEK_DATA));
    R(lseek(fd, -1, SEEK_DATA));
    R(lseek(fd, -1, SEEK_HOLE));
    R(lseek(fd, 0, SEEK_CUR));
    R(close(fd));

    /* holes between small staged writes */
    fd = F(open(P("holes"), O_CREAT | O_RDWR, 0644));
    R(ftruncate(fd, 1 << 20));
    map(fd);
    R(pwrite(fd, "data", 4, 200000));
    map(fd);
    R(pwrite(fd, "data", 4, 600000));
    R(pwrite(fd, "edge", 4, 4094));
    map(fd);
    char *big = fill(grab(100000), 100000, 3);
    R(pwrite(fd, big, 100000, 800000));
    map(fd);
    R(lseek(fd, 650000, SEEK_DATA));
    R(read(fd, b, 20));
    R(lseek(fd, 0, SEEK_CUR));
    R(pwrite(fd, "end", 3, (1 << 20) + 70000));
    map(fd);
    R(lseek(fd, 0, SEEK_END));
    CONTENT(fd);
    R(close(fd));
    fd = F(open(P("holes"), O_RDONLY));
    map(fd);
    R(close(fd));

    /* descriptors that cannot seek or are not open */
    int p[2];
    R(pipe(p));
    R(lseek(p[0], 0, SEEK_CUR));
    R(pread(p[0], b, 1, 0));
    R(pwrite(p[1], b, 1, 0));
    R(lseek(p[1], 0, SEEK_DATA));
    R(close(p[0]));
    R(close(p[1]));
    R(lseek(fd, 0, SEEK_SET));
    R(lseek(-1, 0, SEEK_SET));

    /* two descriptors of one file have two offsets; the end is common */
    int a = F(open(P("two"), O_CREAT | O_RDWR, 0644)), c = F(open(P("two"), O_RDWR));
    R(write(a, "aaaaaaaa", 8));
    R(lseek(c, 0, SEEK_END));
    R(write(c, "cc", 2));
    R(lseek(a, 0, SEEK_END));
    R(lseek(a, 0, SEEK_SET));
    R(read(a, b, 100));
    say("%.10s\n", b);
    R(lseek(c, 0, SEEK_CUR));
    R(close(a));
    R(close(c));
    FILE_IS("two");
    return 0;
}
