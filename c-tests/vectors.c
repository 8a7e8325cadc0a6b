/* pread, pwrite, readv, writev and their v2 kin: values, offsets, flags and errors. */
#include "common.h"

static char big[300000];

static struct iovec *iov(struct iovec *v, int n, char *base, size_t each)
{
    for (int i = 0; i < n; i++)
        v[i] = (struct iovec){base + (size_t)i * each, each};
    return v;
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    struct iovec v[1100];
    char *b = grab(400000);
    fill(big, sizeof big, 5);
    int fd = F(open(P("v"), O_CREAT | O_RDWR, 0644));

    R(pwrite(fd, big, 1000, 0));
    R(lseek(fd, 0, SEEK_CUR));
    R(pwrite(fd, big, 1000, 100000));
    R(pwrite(fd, big, 70000, 50));
    R(pwrite(fd, big, 0, 900000));
    FSIZE(fd);
    R(pread(fd, b, 400000, 0));
    say("hash %016lx\n", (unsigned long)hash(b, 101000));
    R(pread(fd, b, 10, 101000));
    R(pread(fd, b, 10, 100995));
    R(pread(fd, b, 10, 5000000));
    R(pread(fd, b, 10, -1));
    R(pwrite(fd, b, 10, -1));
    R(pwrite(fd, b, 10, LONG_MIN));
    R(pwrite(fd, b, 1, LONG_MAX));
    R(pread(fd, b, 1, LONG_MAX));
    R(lseek(fd, 0, SEEK_CUR));

    /* writev: many small pieces, mixed with empty and large ones */
    R(writev(fd, iov(v, 10, big, 7), 10));
    R(lseek(fd, 0, SEEK_CUR));
    v[0] = (struct iovec){big, 0};
    v[1] = (struct iovec){big + 10, 5};
    v[2] = (struct iovec){NULL, 0};
    v[3] = (struct iovec){big + 50, 66000};
    v[4] = (struct iovec){big + 3, 1};
    R(writev(fd, v, 5));
    R(lseek(fd, 0, SEEK_CUR));
    R(writev(fd, v, 0));
    R(writev(fd, NULL, 0));
    R(writev(fd, v, -1));
    R(writev(fd, iov(v, 1024, big, 3), 1024));
    R(writev(fd, iov(v, 1025, big, 3), 1025));
    R(lseek(fd, 0, SEEK_CUR));
    v[0] = (struct iovec){big, SSIZE_MAX};
    v[1] = (struct iovec){big, SSIZE_MAX};
    R(writev(fd, v, 2));
    v[0] = (struct iovec){big, 10};
    v[1] = (struct iovec){big, (size_t)-1};
    R(writev(fd, v, 2));
    v[1] = (struct iovec){(void *)8, 10}; /* a bad piece after a good one */
    R(writev(fd, v, 2));
    CONTENT(fd);

    R(lseek(fd, 0, SEEK_SET));
    memset(b, 0, 400000);
    R(readv(fd, iov(v, 1024, b, 100), 1024));
    say("hash %016lx\n", (unsigned long)hash(b, 102400));
    R(lseek(fd, 0, SEEK_CUR));
    R(readv(fd, iov(v, 3, b, 10), 3));
    v[0] = (struct iovec){b, 5};
    v[1] = (struct iovec){NULL, 0};
    v[2] = (struct iovec){b + 5, 80000};
    R(lseek(fd, 10, SEEK_SET));
    R(readv(fd, v, 3));
    say("hash %016lx\n", (unsigned long)hash(b, 80005));
    R(readv(fd, iov(v, 2000 > 1100 ? 1025 : 0, b, 1), 1025));
    R(readv(fd, v, -1));

    /* positioned vectors */
    R(pwritev(fd, iov(v, 4, big + 1000, 1000), 4, 3));
    R(preadv(fd, iov(v, 8, b, 777), 8, 1));
    say("hash %016lx\n", (unsigned long)hash(b, 8 * 777));
    R(pwritev(fd, v, 2, -5));
    R(preadv(fd, v, 2, -5));
    R(lseek(fd, 40, SEEK_SET));
    R(pwritev2(fd, iov(v, 2, big, 30), 2, -1, 0));
    R(lseek(fd, 0, SEEK_CUR));
    R(preadv2(fd, iov(v, 2, b, 30), 2, -1, 0));
    R(lseek(fd, 0, SEEK_CUR));
    R(pwritev2(fd, iov(v, 2, big, 30), 2, 10, RWF_DSYNC));
    R(pwritev2(fd, iov(v, 2, big + 9, 30), 2, 20, RWF_SYNC));
    R(pwritev2(fd, iov(v, 2, big, 20), 2, 0, RWF_APPEND));
    R(lseek(fd, 0, SEEK_CUR));
    FSIZE(fd);
    R(pwritev2(fd, iov(v, 2, big, 20), 2, -1, RWF_APPEND));
    R(lseek(fd, 0, SEEK_CUR));
    FSIZE(fd);
    R(preadv2(fd, iov(v, 2, b, 20), 2, 0, 0x40000000));
    R(pwritev2(fd, iov(v, 2, b, 20), 2, 0, 0x40000000));
    R(pwritev2(fd, v, 2, -2, 0));
    CONTENT(fd);

    /* on an O_APPEND descriptor the offset given is ignored, by Linux' own rule */
    int ap = F(open(P("v"), O_RDWR | O_APPEND));
    R(pwrite(ap, "append", 6, 0));
    R(pwritev(ap, iov(v, 2, big, 9), 2, 4));
    R(lseek(ap, 0, SEEK_CUR));
    R(writev(ap, iov(v, 3, big, 11), 3));
    R(lseek(ap, 0, SEEK_CUR));
    FSIZE(fd);
    CONTENT(fd);
    R(close(ap));

    /* wrong descriptors */
    int ro = F(open(P("v"), O_RDONLY)), wo = F(open(P("v"), O_WRONLY));
    R(writev(ro, iov(v, 2, big, 9), 2));
    R(pwritev(ro, v, 2, 0));
    R(readv(wo, v, 2));
    R(preadv(wo, v, 2, 0));
    R(preadv(ro, v, 2, 0));
    R(pwritev(wo, v, 2, 0));
    R(close(ro));
    R(close(wo));
    R(readv(ro, v, 2));
    R(pwritev2(ro, v, 2, 0, 0));
    R(close(fd));
    FILE_IS("v");
    return 0;
}
