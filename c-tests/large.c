/* Offsets far out: sparse at 5 GiB and beyond 4 TiB; many small extents; more than the memory bound of Tier 0. */
#include "common.h"

int main(int argc, char **argv)
{
    begin(argc, argv);
    char b[300];
    static const off_t at[] = {(1L << 31) - 3, 1L << 31, (1L << 32) - 5, 1L << 32, 5L << 30, (5L << 30) + 65536};
    int fd = F(open(P("five"), O_CREAT | O_RDWR | O_LARGEFILE, 0644));
    for (unsigned i = 0; i < 6; i++) {
        R(pwrite(fd, "far out", 7, at[i]));
        R(lseek(fd, at[i] - 100, SEEK_SET));
        R(read(fd, b, 300));
        say("%016lx\n", (unsigned long)hash(b, 107));
    }
    R(lseek(fd, 0, SEEK_END));
    R(write(fd, "the end", 7));
    FSIZE(fd);
    R(lseek(fd, 6L << 30, SEEK_SET));
    char *big = fill(grab(1 << 20), 1 << 20, 4);
    R(write(fd, big, 1 << 20));
    R(pwrite(fd, "seam", 4, (6L << 30) + 65534));
    R(pread(fd, b, 300, (6L << 30) + 65500));
    say("%016lx\n", (unsigned long)hash(b, 300));
    R(ftruncate(fd, (5L << 30) + 100));
    R(lseek(fd, 0, SEEK_END));
    R(ftruncate(fd, 7L << 30));
    R(pread(fd, b, 300, (6L << 30) + 65500));
    say("%016lx\n", (unsigned long)hash(b, 300));
    R(close(fd));
    NSIZE("five");
    fd = F(open(P("five"), O_RDWR));
    for (unsigned i = 0; i < 6; i++) {
        R(pread(fd, b, 20, at[i]));
        say("%016lx\n", (unsigned long)hash(b, 7));
    }
    R(ftruncate(fd, 0));
    R(close(fd));

    fd = F(open(P("tera"), O_CREAT | O_RDWR, 0644));
    R(pwrite(fd, "tera", 4, 4L << 40));
    FSIZE(fd);
    R(pwrite(fd, "tera", 4, (4L << 40) + (1L << 39) + 4093));
    R(pread(fd, b, 10, (4L << 40) - 3));
    say("%016lx\n", (unsigned long)hash(b, 7));
    R(lseek(fd, -2, SEEK_END));
    R(read(fd, b, 10));
    /* the largest offset this file system takes, and the one after it */
    R(pwrite(fd, "x", 1, 17592186040318));
    R(pwrite(fd, "x", 1, 17592186040319));
    R(pwrite(fd, "x", 1, 17592186040320));
    R(pwrite(fd, "xyz", 3, 17592186040318));
    R(pwrite(fd, "x", 1, 17592186044416));
    FSIZE(fd);
    R(lseek(fd, 17592186040320, SEEK_SET));
    R(lseek(fd, 17592186040321, SEEK_SET));
    R(ftruncate(fd, 17592186044416));
    R(ftruncate(fd, 100));
    CONTENT(fd);
    R(close(fd));

    /* 12 MiB in small pieces, forwards, backwards and at random: any bound of Tier 0 is passed */
    fd = F(open(P("pieces"), O_CREAT | O_RDWR, 0644));
    static char model[4 << 20];
    for (int pass = 0; pass < 3; pass++)
        for (long i = 0; i < 8192; i++) {
            long k = pass == 0 ? i : pass == 1 ? 8191 - i : (long)(mix((uint64_t)i) % 8192);
            size_t len = pass == 2 ? 1 + mix((uint64_t)i + 99) % 900 : 512;
            long o = k * 512 + (pass == 1 ? 1 : 0);
            if (o + (long)len > (long)sizeof model)
                len = sizeof model - (size_t)o;
            fill(model + o, len, (uint64_t)(pass * 100000 + i));
            if (pwrite(fd, model + o, len, o) != (ssize_t)len)
                die("pwrite");
        }
    char *back = grab(sizeof model);
    R(pread(fd, back, sizeof model, 0));
    say("same %d\n", !memcmp(back, model, sizeof model));
    long wrong = 0;
    for (int i = 0; i < 3000; i++) {
        size_t len = mix((uint64_t)i) % 5000;
        long o = (long)(mix((uint64_t)i + 7) % (sizeof model - 5000));
        if (pread(fd, back, len, o) != (ssize_t)len || memcmp(back, model + o, len))
            wrong++;
    }
    say("wrong %ld\n", wrong);
    R(close(fd));
    FILE_IS("pieces");
    return 0;
}
