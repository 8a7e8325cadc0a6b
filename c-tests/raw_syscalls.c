/* syscall() and dprintf mixed with the named functions. (System call instructions of a program's own: naked.c.) */
#include "common.h"
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static int uring_once(int fd, int op, void *buf, unsigned len, off_t at, int *res)
{
    struct io_uring_params p;
    memset(&p, 0, sizeof p);
    int ring = (int)syscall(SYS_io_uring_setup, 4, &p);
    if (ring < 0)
        return -1;
    size_t sqsz = p.sq_off.array + p.sq_entries * 4, cqsz = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
    char *sq = mmap(NULL, sqsz, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
    char *cq = mmap(NULL, cqsz, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_CQ_RING);
    struct io_uring_sqe *e = mmap(NULL, p.sq_entries * sizeof *e, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring,
                                  IORING_OFF_SQES);
    if (sq == MAP_FAILED || cq == MAP_FAILED || e == MAP_FAILED)
        die("uring mmap");
    memset(e, 0, sizeof *e);
    e->opcode = (uint8_t)op;
    e->fd = fd;
    e->addr = (uint64_t)(uintptr_t)buf;
    e->len = len;
    e->off = (uint64_t)at;
    ((unsigned *)(sq + p.sq_off.array))[0] = 0;
    __atomic_store_n((unsigned *)(sq + p.sq_off.tail), 1, __ATOMIC_RELEASE);
    int n = (int)syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0);
    *res = ((struct io_uring_cqe *)(cq + p.cq_off.cqes))[0].res;
    munmap(sq, sqsz);
    munmap(cq, cqsz);
    munmap(e, p.sq_entries * sizeof *e);
    close(ring);
    return n;
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    char b[300];
    int fd = (int)syscall(SYS_openat, AT_FDCWD, P("f"), O_CREAT | O_RDWR, 0644);
    say("open %d\n", fd >= 0);
    R(write(fd, "write ", 6));
    R(syscall(SYS_write, fd, "raw ", 4));
    R(write(fd, "write ", 6));
    R(syscall(SYS_lseek, fd, 0, SEEK_CUR));
    R(syscall(SYS_pwrite64, fd, "RAW", 3, 6));
    R(syscall(SYS_lseek, fd, 3, SEEK_SET));
    R(read(fd, b, 5));
    say("%.5s\n", b);
    R(syscall(SYS_read, fd, b, 5));
    say("%.5s\n", b);
    R(lseek(fd, 0, SEEK_CUR));
    R(syscall(SYS_pread64, fd, b, 16, 0));
    say("%.16s\n", b);
    struct stat st;
    R(pwrite(fd, "end", 3, 100));
    R(syscall(SYS_fstat, fd, &st));
    say("size %ld\n", (long)st.st_size);
    R(syscall(SYS_newfstatat, AT_FDCWD, P("f"), &st, 0));
    say("size %ld\n", (long)st.st_size);
    R(syscall(SYS_ftruncate, fd, 50));
    R(lseek(fd, 0, SEEK_END));
    R(syscall(SYS_truncate, P("f"), 40));
    R(lseek(fd, 0, SEEK_END));
    R(write(fd, "staged", 6));
    R(syscall(SYS_fsync, fd));
    struct iovec v[2] = {{"vec1 ", 5}, {"vec2 ", 5}};
    R(syscall(SYS_writev, fd, v, 2));
    R(syscall(SYS_pwritev, fd, v, 2, 0, 0));
    int d = (int)syscall(SYS_dup, fd);
    R(write(d, "dup", 3));
    R(syscall(SYS_dup3, fd, d + 1, O_CLOEXEC) == d + 1);
    R(write(d + 1, "dup3", 4));
    R(syscall(SYS_fcntl, fd, F_DUPFD, 500));
    R(write(500, "500", 3));
    R(lseek(fd, 0, SEEK_CUR));
    R(syscall(SYS_close, d + 1));
    R(write(d + 1, "x", 1));
    R(syscall(SYS_close, 500));
    R(syscall(SYS_dup2, d, fd) == fd);
    CONTENT(fd);
    R(syscall(SYS_close, fd));
    R(write(fd, "x", 1));
    /* the number is used again */
    int f2 = (int)syscall(SYS_open, P("g"), O_CREAT | O_RDWR, 0644);
    say("same number %d\n", f2 == fd);
    R(write(f2, "second file", 11));
    CONTENT(f2);
    R(write(d, " d lives", 8));
    R(close(d));
    FILE_IS("f");
    R(close(f2));
    FILE_IS("g");
    R(syscall(SYS_write, -1, "x", 1));
    R(syscall(SYS_write, 9999, "x", 1));
    R(syscall(SYS_read, 9999, b, 1));
    R(syscall(SYS_unlink, P("g")));
    R(syscall(SYS_renameat2, AT_FDCWD, P("f"), AT_FDCWD, P("h"), 0));
    R(syscall(999999));
    R(syscall(SYS_getpid) == getpid());

    /* dprintf */
    fd = F(open(P("d"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "staged ", 7));
    V(dprintf(fd, "number %d and %s ", 42, "text"));
    R(write(fd, "between ", 8));
    V(dprintf(fd, "%5000d|", 7));
    R(lseek(fd, 0, SEEK_CUR));
    R(pwrite(fd, "NUMBER", 6, 7));
    CONTENT(fd);
    V(dprintf(-1, "x"));
    int ro = F(open(P("d"), O_RDONLY));
    V(dprintf(ro, "x"));
    R(close(ro));
    R(fcntl(fd, F_SETFL, O_APPEND));
    V(dprintf(fd, "appended"));
    CONTENT(fd);
    R(close(fd));
    FILE_IS("d");

    /* io_uring by raw calls */
    fd = F(open(P("u"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "staged bytes", 12));
    int res = 0;
    R(uring_once(fd, IORING_OP_READ, b, 12, 0, &res));
    say("res %d %.12s\n", res, b);
    R(uring_once(fd, IORING_OP_WRITE, "URING", 5, 7, &res));
    say("res %d\n", res);
    R(pread(fd, b, 12, 0));
    say("%.12s\n", b);
    R(pwrite(fd, "again", 5, 3));
    R(uring_once(fd, IORING_OP_READ, b, 12, 0, &res));
    say("res %d %.12s\n", res, b);
    R(close(fd));
    FILE_IS("u");
    FILE_IS("h");
    return 0;
}
