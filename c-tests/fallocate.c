/* fallocate in all its modes, posix_fallocate, between staged writes. */
#include "common.h"
#include <linux/falloc.h>

int main(int argc, char **argv)
{
    begin(argc, argv);
    char *big = fill(grab(300000), 300000, 4);
    int fd = F(open(P("f"), O_CREAT | O_RDWR, 0644));
    R(write(fd, big, 100));
    E(posix_fallocate(fd, 0, 10000));
    FSIZE(fd);
    CONTENT(fd);
    R(pwrite(fd, "in the room", 11, 9000));
    CONTENT(fd);
    E(posix_fallocate(fd, 5000, 1000));
    FSIZE(fd);
    R(fallocate(fd, 0, 8000, 8000));
    FSIZE(fd);
    R(fallocate(fd, FALLOC_FL_KEEP_SIZE, 16000, 100000));
    FSIZE(fd);
    R(write(fd, "next", 4));
    CONTENT(fd);

    /* holes punched through base and overlay */
    R(pwrite(fd, big, 200000, 0));
    for (int i = 0; i < 40; i++)
        if (pwrite(fd, "overlay", 7, i * 5000) != 7)
            die("pwrite");
    R(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 8192));
    CONTENT(fd);
    R(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 19999, 3));
    R(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 190000, 100000));
    R(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 100));
    CONTENT(fd);
    R(pwrite(fd, "in the hole", 11, 6000));
    CONTENT(fd);
    R(fallocate(fd, FALLOC_FL_ZERO_RANGE, 50000, 10000));
    R(pwrite(fd, "zeroed", 6, 55000));
    CONTENT(fd);
    R(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 4096, 4096));
    CONTENT(fd);
    R(pwrite(fd, "collapsed", 9, 4100));
    R(fallocate(fd, FALLOC_FL_INSERT_RANGE, 8192, 4096));
    CONTENT(fd);
    R(pwrite(fd, "inserted", 8, 9000));
    CONTENT(fd);
    R(close(fd));
    FILE_IS("f");

    /* two descriptors: one stages, the other punches */
    int a = F(open(P("g"), O_CREAT | O_RDWR, 0644)), c = F(open(P("g"), O_RDWR));
    R(write(a, big, 9000));
    R(fallocate(c, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1000, 1000));
    CONTENT(a);
    R(pwrite(a, "refilled", 8, 1500));
    CONTENT(c);
    E(posix_fallocate(c, 0, 20000));
    R(lseek(a, 0, SEEK_END));
    R(write(a, "after", 5));
    CONTENT(c);
    R(close(a));
    R(close(c));
    FILE_IS("g");

    /* errors */
    fd = F(open(P("g"), O_RDONLY));
    R(fallocate(fd, 0, 0, 10));
    E(posix_fallocate(fd, 0, 10));
    R(close(fd));
    R(fallocate(fd, 0, 0, 10));
    E(posix_fallocate(fd, 0, 10));
    fd = F(open(P("g"), O_RDWR));
    R(fallocate(fd, 0, -1, 10));
    R(fallocate(fd, 0, 0, 0));
    R(fallocate(fd, 0, 0, LONG_MAX));
    R(fallocate(fd, 0x4000, 0, 10));
    E(posix_fallocate(fd, -1, 10));
    E(posix_fallocate(fd, 0, 0));
    E(posix_fallocate(fd, LONG_MAX, 10));
    R(close(fd));
    int p[2];
    R(pipe(p));
    R(fallocate(p[1], 0, 0, 10));
    E(posix_fallocate(p[1], 0, 10));
    return 0;
}
