/* open, openat and creat: flags, modes, umask, errors. */
#include "common.h"

static void mode_of(const char *name)
{
    struct stat st;
    if (lstat(P(name), &st) < 0)
        say("  mode of %s: %s\n", name, ename(errno));
    else
        say("  mode of %s: %o size %ld\n", name, st.st_mode, (long)st.st_size);
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    int fd;
    char b[64];

    static const int masks[] = {0, 022, 027, 077, 0777, 0111};
    static const int modes[] = {0, 0600, 0644, 0666, 0755, 0777, 01777, 04755, 02755, 0200, 0444};
    for (unsigned m = 0; m < sizeof masks / sizeof *masks; m++)
        for (unsigned o = 0; o < sizeof modes / sizeof *modes; o++) {
            char n[32];
            snprintf(n, sizeof n, "u%o-m%o", masks[m], modes[o]);
            umask(masks[m]);
            fd = F(open(P(n), O_CREAT | O_RDWR, modes[o]));
            R(write(fd, "abc", 3));
            R(close(fd));
            mode_of(n);
        }
    umask(022);

    /* O_EXCL */
    fd = F(open(P("excl"), O_CREAT | O_EXCL | O_RDWR, 0640));
    R(write(fd, "exclusive", 9));
    F(open(P("excl"), O_CREAT | O_EXCL | O_RDWR, 0640));
    R(close(fd));
    F(open(P("excl"), O_CREAT | O_EXCL | O_WRONLY, 0640));
    R(symlink("nowhere", P("dangling")));
    F(open(P("dangling"), O_CREAT | O_EXCL | O_RDWR, 0600));
    F(open(P("dangling"), O_RDONLY));
    fd = F(open(P("dangling"), O_CREAT | O_RDWR, 0600));
    R(write(fd, "through the link", 16));
    R(close(fd));
    mode_of("nowhere");
    F(open(P("dangling"), O_RDONLY | O_NOFOLLOW));
    F(open(P("dangling"), O_CREAT | O_NOFOLLOW | O_RDWR, 0600));

    /* O_TRUNC over staged bytes, while another descriptor is open */
    fd = F(open(P("trunc"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "0123456789", 10));
    int t = F(open(P("trunc"), O_WRONLY | O_TRUNC));
    FSIZE(fd);
    R(read(fd, b, 10));
    R(pread(fd, b, 10, 0));
    R(write(t, "xyz", 3));
    R(pread(fd, b, 10, 0));
    R(write(fd, "tail", 4));
    FSIZE(t);
    R(close(t));
    R(close(fd));
    FILE_IS("trunc");
    fd = F(creat(P("trunc"), 0600));
    mode_of("trunc");
    R(write(fd, "creat", 5));
    R(read(fd, b, 5));
    R(close(fd));
    FILE_IS("trunc");
    /* O_TRUNC with O_RDONLY truncates on Linux; of a file with staged bytes of another descriptor too */
    fd = F(open(P("trunc"), O_RDWR));
    R(pwrite(fd, "staged", 6, 100));
    t = F(open(P("trunc"), O_RDONLY | O_TRUNC));
    FSIZE(fd);
    R(close(t));
    R(close(fd));
    FILE_IS("trunc");

    /* access modes */
    make("acc", 100, 1);
    fd = F(open(P("acc"), O_RDONLY));
    R(write(fd, "x", 1));
    R(pwrite(fd, "x", 1, 5));
    R(ftruncate(fd, 3));
    R(write(fd, "x", 0));
    R(close(fd));
    fd = F(open(P("acc"), O_WRONLY));
    R(read(fd, b, 1));
    R(pread(fd, b, 1, 5));
    R(read(fd, b, 0));
    R(write(fd, "yy", 2));
    R(close(fd));
    fd = F(open(P("acc"), 3)); /* no reading, no writing: for ioctl only */
    R(read(fd, b, 1));
    R(write(fd, b, 1));
    R(fcntl(fd, F_GETFL) & O_ACCMODE);
    R(close(fd));
    FILE_IS("acc");

    /* directories */
    R(mkdir(P("dir"), 0755));
    F(open(P("dir"), O_RDWR));
    F(open(P("dir"), O_WRONLY));
    F(open(P("dir"), O_CREAT | O_RDWR, 0644));
    F(open(P("dir"), O_CREAT | O_EXCL, 0644));
    fd = F(open(P("dir"), O_RDONLY));
    R(read(fd, b, 10));
    R(pread(fd, b, 10, 0));
    R(write(fd, b, 10));
    R(close(fd));
    F(open(P("acc"), O_RDONLY | O_DIRECTORY));
    F(open(P("acc/below"), O_RDONLY));
    F(open(P("acc/"), O_RDONLY));
    F(open(P("new/"), O_CREAT | O_RDWR, 0644));
    F(open(P("absent"), O_RDWR));
    F(open(P("absent/below"), O_CREAT | O_RDWR, 0644));
    F(open("", O_RDONLY));
    char longname[300];
    memset(longname, 'n', 299);
    longname[299] = 0;
    F(open(P(longname), O_CREAT | O_RDWR, 0644));
    longname[255] = 0;
    fd = F(open(P(longname), O_CREAT | O_RDWR, 0644));
    R(write(fd, "long", 4));
    R(close(fd));

    /* loops */
    R(symlink("loop2", P("loop1")));
    R(symlink("loop1", P("loop2")));
    F(open(P("loop1"), O_RDONLY));

    /* status flags as F_GETFL shows them */
    fd = F(open(P("flags"), O_CREAT | O_RDWR | O_APPEND | O_NONBLOCK | O_CLOEXEC, 0644));
    R(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK));
    R(fcntl(fd, F_GETFD));
    R(close(fd));
    fd = F(open(P("flags"), O_RDWR | O_NOATIME | O_SYNC));
    R(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NOATIME | O_SYNC));
    R(fcntl(fd, F_GETFD));
    R(write(fd, "sync", 4));
    R(close(fd));
    fd = F(open(P("flags"), O_RDWR | O_DSYNC));
    R(fcntl(fd, F_GETFL) & (O_ACCMODE | O_SYNC | O_DSYNC));
    R(write(fd, "dsyncs", 6));
    R(close(fd));
    FILE_IS("flags");

    /* odd names, many slashes and dots */
    fd = F(open(P("./././/dir/..//./flags"), O_RDWR));
    R(write(fd, "dots", 4));
    R(close(fd));
    FILE_IS("flags");
    fd = F(open(P("a b\tc\n\xff\xc3"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "odd name", 8));
    R(close(fd));

    /* fds come out lowest first */
    int a0 = open(P("f0"), O_CREAT | O_RDWR, 0644), a1 = open(P("f1"), O_CREAT | O_RDWR, 0644);
    int a2 = open(P("f2"), O_CREAT | O_RDWR, 0644);
    say("fd gaps %d %d\n", a1 - a0, a2 - a0);
    R(write(a1, "one", 3));
    R(close(a1));
    int a3 = open(P("f3"), O_CREAT | O_RDWR, 0644);
    say("reused %d\n", a3 == a1);
    R(write(a3, "three", 5));
    R(close(a0));
    R(close(a2));
    R(close(a3));
    R(close(a3));
    R(write(a3, "x", 1));
    FILE_IS("f1");
    FILE_IS("f3");
    return 0;
}
