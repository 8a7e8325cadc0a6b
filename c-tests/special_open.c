/* O_DIRECT, O_SYNC, O_TMPFILE and linkat, O_PATH, O_NONBLOCK, openat2, creat; fifos and devices in the directory. */
#include "common.h"
#include <linux/openat2.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>

int main(int argc, char **argv)
{
    begin(argc, argv);
    char b[200], path[64];
    char *al;
    if (posix_memalign((void **)&al, 4096, 65536))
        die("memalign");

    /* O_DIRECT beside a buffered descriptor with staged bytes */
    int fd = F(open(P("d"), O_CREAT | O_RDWR, 0644));
    char *big = fill(grab(70000), 70000, 3);
    R(write(fd, big, 20000));
    int dd = F(open(P("d"), O_RDWR | O_DIRECT));
    R(pread(dd, al, 8192, 4096));
    say("%016lx\n", (unsigned long)hash(al, 8192));
    R(pwrite(fd, "staged", 6, 5000));
    R(pread(dd, al, 4096, 4096));
    say("%016lx\n", (unsigned long)hash(al, 4096));
    fill(al, 8192, 77);
    R(pwrite(dd, al, 8192, 8192));
    R(pread(fd, b, 100, 8192));
    say("%016lx\n", (unsigned long)hash(b, 100));
    R(pwrite(fd, "over direct", 11, 9000));
    R(pread(dd, al, 4096, 8192));
    say("%016lx\n", (unsigned long)hash(al, 4096));
    R(pwrite(dd, al + 1, 4096, 0));
    R(pwrite(dd, al, 100, 0));
    R(pread(dd, al, 512, 3));
    R(fcntl(dd, F_GETFL) & O_DIRECT ? 1 : 0);
    R(fcntl(dd, F_SETFL, 0));
    R(pwrite(dd, "now buffered", 12, 100));
    R(fcntl(fd, F_SETFL, O_DIRECT));
    R(pwrite(fd, "not aligned", 11, 1));
    R(pread(fd, al, 4096, 0));
    say("%016lx\n", (unsigned long)hash(al, 4096));
    R(close(dd));
    R(close(fd));
    FILE_IS("d");

    /* O_SYNC */
    fd = F(open(P("s"), O_CREAT | O_RDWR | O_SYNC, 0644));
    R(write(fd, "each write", 10));
    R(write(fd, " is durable", 11));
    R(pread(fd, b, 21, 0));
    say("%.21s\n", b);
    int plain = F(open(P("s"), O_RDWR));
    R(pwrite(plain, "EACH", 4, 0));
    R(pwrite(fd, "is", 2, 2));
    CONTENT(plain);
    R(close(plain));
    R(close(fd));
    FILE_IS("s");

    /* O_TMPFILE */
    fd = F(open(P(""), O_TMPFILE | O_RDWR, 0640));
    R(write(fd, "nameless", 8));
    FSIZE(fd);
    CONTENT(fd);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    R(linkat(AT_FDCWD, path, AT_FDCWD, P("named"), AT_SYMLINK_FOLLOW));
    FILE_IS("named");
    R(write(fd, " no more", 8));
    FILE_IS("named");
    R(close(fd));
    NSIZE("named");
    FILE_IS("named");
    fd = F(open(P(""), O_TMPFILE | O_RDWR, 0600));
    R(write(fd, "by empty path", 13));
    R(linkat(fd, "", AT_FDCWD, P("named2"), AT_EMPTY_PATH));
    R(close(fd));
    FILE_IS("named2");
    fd = F(open(P(""), O_TMPFILE | O_RDWR | O_EXCL, 0600));
    R(write(fd, "never", 5));
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    R(linkat(AT_FDCWD, path, AT_FDCWD, P("never"), AT_SYMLINK_FOLLOW));
    R(close(fd));
    F(open(P(""), O_TMPFILE | O_RDONLY, 0600));
    F(open(P("named"), O_TMPFILE | O_RDWR, 0600));

    /* O_PATH */
    fd = F(open(P("named"), O_PATH));
    R(read(fd, b, 1));
    R(write(fd, b, 1));
    R(lseek(fd, 0, SEEK_SET));
    R(ftruncate(fd, 0));
    R(fchmod(fd, 0600));
    R(fcntl(fd, F_GETFL) == (O_PATH));
    FSIZE(fd);
    int d = F(dup(fd));
    R(write(d, b, 1));
    snprintf(path, sizeof path, "/proc/self/fd/%d", d);
    int re = F(open(path, O_RDWR));
    R(write(re, "NAMELESS", 8));
    R(close(re));
    R(close(d));
    R(close(fd));
    FILE_IS("named");
    R(symlink("named", P("l")));
    fd = F(open(P("l"), O_PATH | O_NOFOLLOW));
    struct stat st;
    R(fstat(fd, &st));
    say("%o\n", st.st_mode);
    R(readlinkat(fd, "", b, sizeof b));
    R(close(fd));

    /* openat2 */
    struct open_how how = {.flags = O_CREAT | O_RDWR, .mode = 0604};
    fd = F(syscall(SYS_openat2, AT_FDCWD, P("o2"), &how, sizeof how));
    R(write(fd, "openat2", 7));
    CONTENT(fd);
    R(close(fd));
    NSIZE("o2");
    int dir = F(open(P(""), O_RDONLY | O_DIRECTORY));
    how = (struct open_how){.flags = O_RDWR, .resolve = RESOLVE_BENEATH};
    fd = F(syscall(SYS_openat2, dir, "o2", &how, sizeof how));
    R(write(fd, "beneath", 7));
    R(close(fd));
    F(syscall(SYS_openat2, dir, "../x", &how, sizeof how));
    how = (struct open_how){.flags = O_RDWR | O_TRUNC, .resolve = RESOLVE_NO_SYMLINKS};
    F(syscall(SYS_openat2, dir, "l", &how, sizeof how));
    fd = F(syscall(SYS_openat2, dir, "o2", &how, sizeof how));
    FSIZE(fd);
    R(write(fd, "t", 1));
    R(close(fd));
    FILE_IS("o2");
    R(close(dir));

    /* not regular: fifo, device, socket by name */
    R(mkfifo(P("fifo"), 0600));
    int r = F(open(P("fifo"), O_RDONLY | O_NONBLOCK)), w = F(open(P("fifo"), O_WRONLY));
    R(write(w, "through the fifo", 16));
    R(read(r, b, 100));
    R(lseek(r, 0, SEEK_CUR));
    R(ftruncate(w, 0));
    R(close(w));
    R(read(r, b, 100));
    R(close(r));
    F(open(P("fifo"), O_WRONLY | O_NONBLOCK));
    R(mknod(P("null"), S_IFCHR | 0666, makedev(1, 3)));
    fd = F(open(P("null"), O_RDWR));
    if (fd >= 0) {
        R(write(fd, "gone", 4));
        R(read(fd, b, 10));
        R(close(fd));
    }
    R(mknod(P("regular"), S_IFREG | 0600, 0));
    fd = F(open(P("regular"), O_RDWR));
    R(write(fd, "by mknod", 8));
    R(close(fd));
    FILE_IS("regular");
    R(unlink(P("null")));

    /* a file opened twenty times in all ways, all writing in turn */
    int many[20];
    for (int i = 0; i < 20; i++)
        many[i] = open(P("many"), O_CREAT | O_RDWR | (i % 3 == 1 ? O_APPEND : 0) | (i % 5 == 2 ? O_SYNC : 0), 0644);
    for (int i = 0; i < 20; i++) {
        char t[20];
        int n = snprintf(t, sizeof t, "<%d>", i);
        if (write(many[i], t, (size_t)n) != n)
            die("write");
        if (i % 6 == 5)
            close(many[i - 3]);
    }
    CONTENT(many[19]);
    return 0;
}
