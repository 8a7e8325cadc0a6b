/* Times, modes, owners and extended attributes: what was set before the close is there after it. */
#include "common.h"
#include <sys/time.h>
#include <sys/xattr.h>
#include <utime.h>

static void times(const char *name)
{
    struct stat st;
    if (stat(P(name), &st))
        say("  %s: %s\n", name, ename(errno));
    else
        say("  %s: a %ld.%09ld m %ld.%09ld size %ld\n", name, st.st_atim.tv_sec, st.st_atim.tv_nsec, st.st_mtim.tv_sec,
            st.st_mtim.tv_nsec, (long)st.st_size);
}
static const struct timespec when[2] = {{1000000000, 123456789}, {1100000000, 987654321}};

int main(int argc, char **argv)
{
    begin(argc, argv);
    char b[300];

    /* set by descriptor after staged writes, then closed: cp -p, tar, rsync do this */
    int fd = F(open(P("f"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "staged", 6));
    R(futimens(fd, when));
    times("f");
    R(close(fd));
    times("f");
    /* by name before and after the close */
    fd = F(open(P("n"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "staged", 6));
    R(utimensat(AT_FDCWD, P("n"), when, 0));
    times("n");
    R(close(fd));
    times("n");
    fd = F(open(P("o"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "staged", 6));
    R(close(fd));
    R(utime(P("o"), &(struct utimbuf){5, 6}));
    times("o");
    R(utimes(P("o"), (struct timeval[]){{7, 123456}, {8, 654321}}));
    times("o");
    fd = F(open(P("o"), O_RDWR));
    R(write(fd, "x", 1));
    R(futimes(fd, (struct timeval[]){{9, 1}, {10, 2}}));
    R(close(fd));
    times("o");
    R(futimesat(AT_FDCWD, P("o"), (struct timeval[]){{11, 1}, {12, 2}}));
    R(lutimes(P("o"), (struct timeval[]){{13, 1}, {14, 2}}));
    times("o");
    /* from another descriptor, while the first has staged bytes and closes later */
    fd = F(open(P("p"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "staged", 6));
    int g = F(open(P("p"), O_RDONLY));
    R(futimens(g, when));
    R(close(g));
    times("p");
    R(close(fd));
    times("p");
    /* from another process */
    fd = F(open(P("q"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "staged", 6));
    pid_t pid = fork();
    if (pid == 0)
        _exit(utimensat(AT_FDCWD, P("q"), when, 0) != 0);
    REAP(pid);
    times("q");
    R(close(fd));
    times("q");
    /* a write after it moves the time of modification on */
    fd = F(open(P("r"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "staged", 6));
    R(futimens(fd, when));
    R(write(fd, "again", 5));
    struct stat st;
    fstat(fd, &st);
    say("moved on %d\n", st.st_mtim.tv_sec > 1200000000);
    R(close(fd));
    stat(P("r"), &st);
    say("moved on %d\n", st.st_mtim.tv_sec > 1200000000);
    /* a time seen after the last write stays the same over the close (make, rsync and tar compare) */
    fd = F(open(P("s"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "staged", 6));
    struct stat s1, s2, s3;
    fstat(fd, &s1);
    usleep(20000);
    R(close(fd));
    stat(P("s"), &s2);
    usleep(20000);
    stat(P("s"), &s3);
    say("same %d %d\n", s1.st_mtim.tv_sec == s2.st_mtim.tv_sec && s1.st_mtim.tv_nsec == s2.st_mtim.tv_nsec,
        s2.st_mtim.tv_sec == s3.st_mtim.tv_sec && s2.st_mtim.tv_nsec == s3.st_mtim.tv_nsec);
    /* two files written one after the other are in this order */
    int a = open(P("older"), O_CREAT | O_RDWR, 0644);
    if (write(a, "older", 5) != 5)
        die("write");
    usleep(20000);
    int c = open(P("newer"), O_CREAT | O_RDWR, 0644);
    if (write(c, "newer", 5) != 5)
        die("write");
    R(close(c));
    usleep(20000);
    R(close(a));
    stat(P("older"), &s1);
    stat(P("newer"), &s2);
    say("in order %d\n", s1.st_mtim.tv_sec < s2.st_mtim.tv_sec ||
                             (s1.st_mtim.tv_sec == s2.st_mtim.tv_sec && s1.st_mtim.tv_nsec <= s2.st_mtim.tv_nsec));
    /* a reader does not touch the time of modification */
    R(utimensat(AT_FDCWD, P("s"), when, 0));
    fd = F(open(P("s"), O_RDONLY));
    R(read(fd, b, 10));
    R(close(fd));
    stat(P("s"), &st);
    say("m %ld\n", st.st_mtim.tv_sec);
    fd = F(open(P("s"), O_RDWR));
    R(close(fd));
    stat(P("s"), &st);
    say("m %ld\n", st.st_mtim.tv_sec);
    FILE *f = fopen(P("t"), "w");
    fputs("by stdio", f);
    fflush(f);
    R(futimens(fileno(f), when));
    V(fclose(f));
    times("t");
    R(utimensat(AT_FDCWD, P("t"), (struct timespec[]){{1, UTIME_OMIT}, {77, 5}}, 0));
    times("t");
    R(utimensat(AT_FDCWD, P("absent"), when, 0));
    R(utimensat(AT_FDCWD, P("t"), (struct timespec[]){{1, -5}, {77, 5}}, 0));
    R(futimens(-1, when));
    R(symlink("t", P("l")));
    R(utimensat(AT_FDCWD, P("l"), (struct timespec[]){{50, 0}, {60, 0}}, AT_SYMLINK_NOFOLLOW));
    times("l");

    /* modes */
    fd = F(open(P("mode"), O_CREAT | O_RDWR, 0600));
    R(write(fd, "staged", 6));
    R(fchmod(fd, 0440));
    R(write(fd, " on", 3));
    R(chmod(P("mode"), 0));
    R(write(fd, " and on", 7));
    NSIZE("mode");
    CONTENT(fd);
    R(close(fd));
    NSIZE("mode");
    R(chmod(P("mode"), 06755));
    fd = F(open(P("mode"), O_RDWR));
    R(write(fd, "X", 1)); /* root keeps the bits */
    R(close(fd));
    NSIZE("mode");
    R(fchmodat(AT_FDCWD, P("mode"), 0644, 0));
    NSIZE("mode");
    R(chmod(P("absent"), 0));
    R(fchmod(-1, 0));

    /* owners */
    fd = F(open(P("own"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "staged", 6));
    R(fchown(fd, 1234, 5678));
    R(write(fd, " more", 5));
    fstat(fd, &st);
    say("%d:%d\n", st.st_uid, st.st_gid);
    R(close(fd));
    stat(P("own"), &st);
    say("%d:%d size %ld\n", st.st_uid, st.st_gid, (long)st.st_size);
    R(chown(P("own"), 1, -1));
    R(lchown(P("l"), 2, 3));
    R(fchownat(AT_FDCWD, P("own"), -1, 9, 0));
    stat(P("own"), &st);
    say("%d:%d\n", st.st_uid, st.st_gid);
    R(chown(P("own"), 0, 0));
    R(lchown(P("l"), 0, 0));

    /* extended attributes: ours must not show, theirs must stay */
    fd = F(open(P("x"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "staged", 6));
    R(flistxattr(fd, b, sizeof b));
    R(fsetxattr(fd, "user.one", "first value", 11, 0));
    R(setxattr(P("x"), "user.two", "2", 1, XATTR_CREATE));
    R(setxattr(P("x"), "user.two", "3", 1, XATTR_CREATE));
    R(fgetxattr(fd, "user.two", b, sizeof b));
    R(getxattr(P("x"), "user.one", b, sizeof b));
    say("%.11s\n", b);
    R(write(fd, " more", 5));
    R(listxattr(P("x"), b, sizeof b));
    R(llistxattr(P("x"), b, sizeof b));
    R(fremovexattr(fd, "user.two"));
    R(removexattr(P("x"), "user.two"));
    R(lsetxattr(P("x"), "user.three", "", 0, 0));
    R(lgetxattr(P("x"), "user.three", b, sizeof b));
    R(lremovexattr(P("x"), "user.absent"));
    R(close(fd));
    R(getxattr(P("x"), "user.one", b, 3));
    R(getxattr(P("x"), "user.none", b, sizeof b));
    R(listxattr(P("x"), NULL, 0));
    FILE_IS("x");
    /* settle the times the tree comparison does not look at */
    return 0;
}
