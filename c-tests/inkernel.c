/* Calls that move bytes inside the kernel: sendfile, copy_file_range, splice, tee, vmsplice, and the way back. */
#include "common.h"
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/ioctl.h>
#include <linux/fs.h>

int main(int argc, char **argv)
{
    begin(argc, argv);
    char *big = fill(grab(300000), 300000, 8), *b = grab(300000);
    int src = F(open(P("src"), O_CREAT | O_RDWR, 0644)), dst = F(open(P("dst"), O_CREAT | O_RDWR, 0644));
    R(write(src, big, 3000));
    R(pwrite(src, "staged", 6, 1000));

    /* sendfile: file to file, file to socket, with and without an offset */
    R(lseek(src, 10, SEEK_SET));
    R(write(dst, "head ", 5));
    R(sendfile(dst, src, NULL, 500));
    R(lseek(src, 0, SEEK_CUR));
    R(lseek(dst, 0, SEEK_CUR));
    off_t at = 900;
    R(sendfile(dst, src, &at, 5000));
    say("at %ld\n", (long)at);
    R(lseek(src, 0, SEEK_CUR));
    R(write(dst, " tail", 5));
    CONTENT(dst);
    int sv[2];
    R(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
    R(pwrite(src, "newer", 5, 1002));
    at = 990;
    R(sendfile(sv[0], src, &at, 30));
    R(recv(sv[1], b, 100, 0));
    say("%016lx\n", (unsigned long)hash(b, 30));
    R(sendfile(src, dst, NULL, 0));
    R(sendfile(-1, src, NULL, 10));
    R(sendfile(dst, -1, NULL, 10));
    at = -1;
    R(sendfile(dst, src, &at, 10));

    /* copy_file_range */
    int c = F(open(P("copy"), O_CREAT | O_RDWR, 0644));
    R(pwrite(src, "newest", 6, 50));
    off_t in = 0, out = 100;
    R(copy_file_range(src, &in, c, &out, 2000, 0));
    say("%ld %ld\n", (long)in, (long)out);
    CONTENT(c);
    R(pwrite(c, "over the copy", 13, 500));
    R(lseek(src, 0, SEEK_SET));
    R(lseek(c, 0, SEEK_SET));
    R(copy_file_range(src, NULL, c, NULL, 1 << 20, 0));
    R(lseek(src, 0, SEEK_CUR));
    R(lseek(c, 0, SEEK_CUR));
    CONTENT(c);
    in = 0;
    out = 10;
    R(copy_file_range(src, &in, src, &out, 100, 0));
    out = 5000;
    in = 0;
    R(copy_file_range(src, &in, src, &out, 100, 0));
    R(copy_file_range(src, NULL, c, NULL, 10, 1));
    int ap = F(open(P("copy"), O_WRONLY | O_APPEND));
    R(copy_file_range(src, NULL, ap, NULL, 10, 0));
    R(close(ap));
    R(write(c, "small after", 11));
    CONTENT(c);
    R(close(c));
    FILE_IS("copy");
    R(ioctl(dst, FICLONE, src) == 0 ? 0 : -1);

    /* splice to and from pipes */
    int p[2], q[2];
    R(pipe(p));
    R(pipe(q));
    R(pwrite(src, "for the pipe", 12, 200));
    in = 195;
    R(splice(src, &in, p[1], NULL, 30, 0));
    R(read(p[0], b, 100));
    say("%.12s %016lx\n", b + 5, (unsigned long)hash(b, 30));
    R(lseek(src, 0, SEEK_SET));
    R(splice(src, NULL, p[1], NULL, 50, 0));
    R(lseek(src, 0, SEEK_CUR));
    R(tee(p[0], q[1], 20, 0));
    R(read(q[0], b, 100));
    out = 7000;
    R(splice(p[0], NULL, dst, &out, 50, 0));
    say("%ld\n", (long)out);
    R(pwrite(dst, "on top", 6, 7010));
    CONTENT(dst);
    R(write(p[1], "through the offset", 18));
    R(lseek(dst, 3, SEEK_SET));
    R(splice(p[0], NULL, dst, NULL, 18, 0));
    R(lseek(dst, 0, SEEK_CUR));
    R(write(dst, "!", 1));
    struct iovec v = {"vmspliced", 9};
    R(vmsplice(p[1], &v, 1, 0));
    R(splice(p[0], NULL, dst, NULL, 9, 0));
    CONTENT(dst);
    R(splice(src, NULL, dst, NULL, 10, 0));

    /* a reader that holds an overlay must see what the kernel moved, by another descriptor and process */
    int r = F(open(P("dst"), O_RDWR));
    R(pwrite(r, "r was here", 10, 0));
    pid_t pid = fork();
    if (pid == 0) {
        int d = open(P("dst"), O_RDWR), s = open(P("src"), O_RDONLY);
        off_t i = 0, o = 2;
        ssize_t n = copy_file_range(s, &i, d, &o, 4, 0);
        _exit(n == 4 ? 0 : 1);
    }
    REAP(pid);
    R(pread(r, b, 12, 0));
    say("%016lx\n", (unsigned long)hash(b, 12));
    R(close(r));
    R(close(src));
    R(close(dst));
    FILE_IS("src");
    FILE_IS("dst");

    /* readahead, fadvise, FIONREAD, a few ioctls */
    r = F(open(P("src"), O_RDWR));
    R(write(r, "abc", 3));
    R(readahead(r, 0, 1000));
    E(posix_fadvise(r, 0, 0, POSIX_FADV_SEQUENTIAL));
    E(posix_fadvise(r, 0, 0, POSIX_FADV_DONTNEED));
    E(posix_fadvise(r, 0, 0, 99));
    E(posix_fadvise(-1, 0, 0, 0));
    int left = -1;
    R(ioctl(r, FIONREAD, &left));
    say("left %d\n", left);
    R(ioctl(r, 0x5401, b)); /* TCGETS */
    R(isatty(r));
    int flags = 0;
    R(ioctl(r, FS_IOC_GETFLAGS, &flags) == 0);
    CONTENT(r);
    R(close(r));
    return 0;
}
