/* fsync, fdatasync, sync, syncfs, sync_file_range: after each, another program sees the bytes; and POSIX aio. */
#include "common.h"
#include <aio.h>
#include <sys/syscall.h>
#include <linux/aio_abi.h>

static int aio_wait(struct aiocb *cb)
{
    const struct aiocb *list[1] = {cb};
    while (aio_error(cb) == EINPROGRESS)
        aio_suspend(list, 1, NULL);
    int e = aio_error(cb);
    ssize_t r = aio_return(cb);
    say("  aio: %zd %s\n", r, ename(e));
    return (int)r;
}
static struct aiocb cb(int fd, void *buf, size_t n, off_t at)
{
    struct aiocb c;
    memset(&c, 0, sizeof c);
    c.aio_fildes = fd;
    c.aio_buf = buf;
    c.aio_nbytes = n;
    c.aio_offset = at;
    c.aio_sigevent.sigev_notify = SIGEV_NONE;
    return c;
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    char b[200];
    int fd = F(open(P("s"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "one", 3));
    R(fsync(fd));
    R(fsync(fd));
    R(write(fd, "two", 3));
    R(fdatasync(fd));
    R(write(fd, "three", 5));
    R(syncfs(fd));
    R(write(fd, "four", 4));
    sync();
    R(write(fd, "five", 4));
    R(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE));
    R(sync_file_range(fd, 0, 100, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER));
    R(sync_file_range(fd, -1, 0, 0));
    R(sync_file_range(fd, 0, 0, 99));
    CONTENT(fd);
    int ro = F(open(P("s"), O_RDONLY));
    R(pwrite(fd, "ONE", 3, 0));
    R(fsync(ro)); /* fsync on a read-only descriptor syncs the file all the same */
    CONTENT(ro);
    R(close(ro));
    R(fsync(ro));
    R(fdatasync(-1));
    int dir = F(open(P(""), O_RDONLY | O_DIRECTORY));
    R(fsync(dir));
    R(close(dir));
    int p[2];
    R(pipe(p));
    R(fsync(p[1]));

    /* aio */
    R(write(fd, " staged before aio ", 19));
    struct aiocb c = cb(fd, b, 100, 0);
    R(aio_read(&c));
    int n = aio_wait(&c);
    say("%016lx\n", (unsigned long)hash(b, n > 0 ? (size_t)n : 0));
    c = cb(fd, "AIO WRITE", 9, 4);
    R(aio_write(&c));
    aio_wait(&c);
    R(pread(fd, b, 20, 0));
    say("%.20s\n", b);
    R(pwrite(fd, "small", 5, 6));
    c = cb(fd, b, 20, 0);
    R(aio_read(&c));
    aio_wait(&c);
    say("%.20s\n", b);
    c = cb(fd, NULL, 0, 0);
    R(aio_fsync(O_SYNC, &c));
    aio_wait(&c);
    R(aio_fsync(77, &c));
    struct aiocb l1 = cb(fd, "L1", 2, 60), l2 = cb(fd, "L2", 2, 70), l3 = cb(fd, b, 10, 0);
    l1.aio_lio_opcode = l2.aio_lio_opcode = LIO_WRITE;
    l3.aio_lio_opcode = LIO_READ;
    struct aiocb *list[] = {&l1, NULL, &l2, &l3};
    R(lio_listio(LIO_WAIT, list, 4, NULL));
    aio_wait(&l1);
    aio_wait(&l2);
    aio_wait(&l3);
    CONTENT(fd);
    c = cb(-1, b, 10, 0);
    int r = aio_read(&c);
    if (r == 0)
        aio_wait(&c);
    int ap = F(open(P("s"), O_WRONLY | O_APPEND));
    c = cb(ap, "appended by aio", 15, 0);
    R(aio_write(&c));
    aio_wait(&c);
    R(write(ap, "+write", 6));
    R(close(ap));
    CONTENT(fd);
    char *big = fill(grab(200000), 200000, 4);
    c = cb(fd, big, 200000, 1000);
    R(aio_write(&c));
    aio_wait(&c);
    R(pwrite(fd, "after", 5, 2000));
    CONTENT(fd);
    R(lseek(fd, 0, SEEK_CUR));

    /* the kernel's own aio, by raw calls, as libaio makes them */
    aio_context_t ctx = 0;
    R(syscall(SYS_io_setup, 8, &ctx));
    struct iocb k;
    memset(&k, 0, sizeof k);
    k.aio_fildes = (uint32_t)fd;
    k.aio_lio_opcode = IOCB_CMD_PWRITE;
    k.aio_buf = (uint64_t)(uintptr_t) "kernel aio";
    k.aio_nbytes = 10;
    k.aio_offset = 30;
    R(pwrite(fd, "staged under", 12, 25));
    struct iocb *ks[] = {&k};
    R(syscall(SYS_io_submit, ctx, 1, ks));
    struct io_event ev;
    R(syscall(SYS_io_getevents, ctx, 1, 1, &ev, NULL));
    say("event %ld\n", (long)ev.res);
    R(pread(fd, b, 30, 20));
    say("%.30s\n", b);
    R(pwrite(fd, "STAGED", 6, 28));
    k.aio_lio_opcode = IOCB_CMD_PREAD;
    k.aio_buf = (uint64_t)(uintptr_t)b;
    k.aio_nbytes = 30;
    k.aio_offset = 20;
    R(syscall(SYS_io_submit, ctx, 1, ks));
    R(syscall(SYS_io_getevents, ctx, 1, 1, &ev, NULL));
    say("event %ld %.30s\n", (long)ev.res, b);
    R(syscall(SYS_io_destroy, ctx));
    CONTENT(fd);
    R(close(fd));
    FILE_IS("s");
    return 0;
}
