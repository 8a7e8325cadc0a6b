/* Buffers and vectors that are not there: EFAULT as the kernel says, and nothing is lost or moved by the attempt. */
#include "common.h"

int main(int argc, char **argv)
{
    begin(argc, argv);
    char b[5000];
    int fd = F(open(P("f"), O_CREAT | O_RDWR, 0644));
    memset(b, 'b', sizeof b);
    R(write(fd, b, sizeof b));

    R(write(fd, NULL, 10));
    R(write(fd, (void *)16, 100));
    R(pwrite(fd, NULL, 10, 0));
    R(pwrite(fd, (void *)-4096L, 10, 0));
    R(read(fd, NULL, 10));
    R(pread(fd, NULL, 10, 0));
    R(pread(fd, (void *)16, 10, 0));
    R(pread(fd, NULL, 0, 0));
    R(write(fd, NULL, 0));
    R(pwrite(fd, NULL, 0, 3));
    R(writev(fd, (struct iovec *)16, 2));
    R(readv(fd, NULL, 3));
    struct iovec v = {NULL, 5};
    R(writev(fd, &v, 1));
    R(preadv(fd, &v, 1, 0));
    /* A buffer that is mapped but may not be touched (PROT_NONE) is met by SIGSEGV once bytes are staged, as by any
       library function: docs/semantics.md says so, and it is not tried here. */
    R(write(fd, b, (size_t)-1));
    R(F(open(NULL, O_RDONLY)));
    R(F(open((char *)16, O_RDONLY)));
    R(fstat(fd, NULL));
    R(lseek(fd, 0, SEEK_CUR));
    CONTENT(fd);


    /* the same once the file is settled, and by vectors that are good but for one piece */
    R(fsync(fd));
    R(pread(fd, NULL, 10, 0));
    R(pwrite(fd, NULL, 10, 0));
    R(pwrite(fd, "staged", 6, 10));
    struct iovec w[3] = {{b, 10}, {(void *)8, 10}, {b, 10}};
    R(pwritev(fd, w, 3, 100));
    R(preadv(fd, w, 3, 100));
    R(writev(fd, w, 3));
    R(lseek(fd, 0, SEEK_CUR));
    CONTENT(fd);
    R(close(fd));
    FILE_IS("f");
    return 0;
}
