/* Sparse files: holes read as zeros, stay holes on disk where no byte was written, and sizes are right. */
#include "common.h"

int main(int argc, char **argv)
{
    begin(argc, argv);
    char b[300];
    int fd = F(open(P("sparse"), O_CREAT | O_RDWR, 0644));
    R(pwrite(fd, "z", 1, 10L << 20));
    FSIZE(fd);
    for (int i = 0; i < 64; i++)
        if (pwrite(fd, "island", 6, i * 131072 + 77) != 6)
            die("pwrite");
    R(pread(fd, b, 300, 131072 - 100));
    say("hash %016lx\n", (unsigned long)hash(b, 300));
    CONTENT(fd);
    R(close(fd));
    struct stat st;
    R(stat(P("sparse"), &st));
    say("sparse on disk: %d\n", st.st_blocks * 512 < (10L << 20) / 2);

    /* only a length */
    fd = F(open(P("empty"), O_CREAT | O_RDWR, 0644));
    R(ftruncate(fd, 5L << 20));
    R(read(fd, b, 300));
    say("hash %016lx\n", (unsigned long)hash(b, 300));
    R(lseek(fd, 0, SEEK_DATA));
    R(close(fd));
    R(stat(P("empty"), &st));
    say("blocks %ld\n", (long)st.st_blocks);

    /* zeros that are written are data, holes that are written over are whole */
    fd = F(open(P("zeros"), O_CREAT | O_RDWR, 0644));
    char *z = calloc(1, 8192);
    R(ftruncate(fd, 1 << 20));
    R(pwrite(fd, z, 8192, 65536));
    R(pwrite(fd, "abc", 3, 70000));
    R(pwrite(fd, z, 100, 69990));
    R(pread(fd, b, 300, 69900));
    say("hash %016lx\n", (unsigned long)hash(b, 300));
    CONTENT(fd);
    R(close(fd));
    FILE_IS("zeros");

    /* seek and write, again and again: the file grows by jumps */
    fd = F(open(P("jumps"), O_CREAT | O_RDWR, 0644));
    for (int i = 0; i < 50; i++) {
        lseek(fd, 30000, SEEK_CUR);
        if (write(fd, "jump", 4) != 4)
            die("write");
    }
    FSIZE(fd);
    R(lseek(fd, 0, SEEK_SET));
    for (int i = 0; i < 50; i++) {
        if (lseek(fd, 29998, SEEK_CUR) < 0 || read(fd, b, 6) != 6)
            die("read");
        if (memcmp(b, "\0\0jump", 6))
            say("jump %d differs\n", i);
    }
    CONTENT(fd);
    R(close(fd));

    /* a read that spans base, overlay and hole */
    char *big = fill(grab(200000), 200000, 2);
    fd = F(open(P("span"), O_CREAT | O_RDWR, 0644));
    R(pwrite(fd, big, 100000, 0));
    R(pwrite(fd, "mid", 3, 50000));
    R(pwrite(fd, "island", 6, 150000));
    R(ftruncate(fd, 190000));
    char *got = grab(200000);
    R(read(fd, got, 200000));
    say("hash %016lx\n", (unsigned long)hash(got, 190000));
    R(lseek(fd, 49999, SEEK_SET));
    R(read(fd, got, 5));
    say("hash %016lx\n", (unsigned long)hash(got, 5));
    R(lseek(fd, 149990, SEEK_SET));
    R(read(fd, got, 30));
    say("hash %016lx\n", (unsigned long)hash(got, 30));
    R(close(fd));
    FILE_IS("span");
    return 0;
}
