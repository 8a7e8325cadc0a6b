/* Symbolic links into and out of the directory, directories by many names, chdir, fchdir, *at with descriptors. */
#include "common.h"

static char outside[PATH_MAX];
static const char *O(const char *name)
{
    static char ring[4][PATH_MAX + 64];
    static int next;
    char *p = ring[next++ & 3];
    snprintf(p, PATH_MAX + 64, "%s/%s", outside, name);
    return p;
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    char b[PATH_MAX + 8], real[PATH_MAX];
    snprintf(outside, sizeof outside, "/tmp/iris-outside-XXXXXX");
    if (!mkdtemp(outside) || !realpath(D, real))
        die("mkdtemp");

    /* out of the directory */
    R(symlink(O("target"), P("out")));
    int fd = F(open(P("out"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "outside", 7));
    R(close(fd));
    fd = F(open(O("target"), O_RDONLY));
    CONTENT(fd);
    R(close(fd));
    R(symlink(outside, P("outdir")));
    fd = F(open(P("outdir/second"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "also outside", 12));
    R(close(fd));
    FILE_IS("outdir/second");
    /* .. after a link leaves by the link's target, not by its name */
    snprintf(b, sizeof b, "%.4000s/in", outside);
    R(symlink(real, b));

    /* into the directory */
    fd = F(open(O("in/entered"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "from outside", 12));
    FILE_IS("entered");
    int fd2 = F(open(P("entered"), O_RDWR | O_APPEND));
    R(write(fd2, " and inside", 11));
    CONTENT(fd);
    R(close(fd));
    R(close(fd2));
    FILE_IS("entered");
    R(mkdir(P("sub"), 0755));
    R(symlink("sub", P("subl")));
    R(symlink("../entered", P("sub/up")));
    fd = F(open(P("subl/up"), O_RDWR));
    R(write(fd, "FROM", 4));
    R(close(fd));
    FILE_IS("entered");
    R(access(O("in/../entered"), F_OK));
    fd = F(open(P("subl/../entered"), O_RDWR));
    R(pwrite(fd, "dotdot", 6, 20));
    R(close(fd));
    FILE_IS("entered");
    ssize_t n = R(readlink(P("subl"), b, sizeof b));
    say("%.*s\n", (int)n, b);
    R(readlink(P("entered"), b, sizeof b));
    R(readlink(P("subl"), b, 2));
    NSIZE("subl");
    R(symlink("x", P("subl")));
    char *rp = realpath(P("subl/up"), b);
    say("realpath ends %s\n", rp ? rp + strlen(real) : ename(errno));

    /* chdir in, relative names, .. out and in again */
    int back = open(".", O_RDONLY | O_DIRECTORY);
    R(chdir(D));
    D = ".";
    fd = F(open("relative", O_CREAT | O_RDWR, 0644));
    R(write(fd, "relative", 8));
    R(chdir("sub"));
    FILE_IS("../relative");
    int fd3 = F(open("../relative", O_WRONLY | O_APPEND));
    R(write(fd3, " two", 4));
    CONTENT(fd);
    R(close(fd3));
    char *cwd = getcwd(b, sizeof b);
    say("getcwd ends %s\n", cwd ? cwd + strlen(real) : ename(errno));
    FILE *f = fopen("by-stdio", "w+");
    V(fprintf(f, "relative stdio %d\n", 5));
    V(fclose(f));
    FILE_IS("by-stdio");
    R(chdir(".."));
    FILE_IS("sub/by-stdio");
    R(chdir(outside));
    fd3 = F(open("in/relative", O_RDWR));
    R(pwrite(fd3, "RELATIVE", 8, 0));
    R(close(fd3));
    fd3 = F(open("third", O_CREAT | O_RDWR, 0644));
    R(write(fd3, "third", 5));
    R(close(fd3));
    R(chdir("in"));
    CONTENT(fd);
    R(chdir("sub"));
    R(rename("by-stdio", "../renamed-relative"));
    R(unlink("absent"));
    int subfd = F(open(".", O_RDONLY | O_DIRECTORY));
    R(fchdir(back));
    fd3 = F(openat(subfd, "at", O_CREAT | O_RDWR, 0644));
    R(write(fd3, "openat", 6));
    R(fchdir(subfd));
    FILE_IS("at");
    R(write(fd3, " more", 5));
    FILE_IS("at");
    R(close(fd3));
    fd3 = F(openat(subfd, "../sub/at", O_RDWR | O_TRUNC));
    R(write(fd3, "again", 5));
    R(close(fd3));
    FILE_IS("at");
    struct stat st;
    R(fstatat(subfd, "at", &st, 0));
    say("%ld\n", (long)st.st_size);
    R(fstatat(subfd, "up", &st, AT_SYMLINK_NOFOLLOW));
    say("%o\n", st.st_mode);
    R(fstatat(subfd, "up", &st, 0));
    say("%ld\n", (long)st.st_size);
    R(faccessat(subfd, "at", R_OK | W_OK, 0));
    R(faccessat(subfd, "at", X_OK, 0));
    R(mkdirat(subfd, "deeper", 0755));
    R(symlinkat("../at", subfd, "deeper/l"));
    R(readlinkat(subfd, "deeper/l", b, sizeof b));
    fd3 = F(openat(subfd, "deeper/l", O_RDWR));
    R(pwrite(fd3, "DEEP", 4, 1));
    R(renameat(subfd, "at", subfd, "deeper/at2"));
    R(linkat(subfd, "deeper/at2", subfd, "hard", 0));
    R(pwrite(fd3, "x", 1, 10));
    R(close(fd3));
    FILE_IS("hard");
    R(fchmodat(subfd, "hard", 0600, 0));
    NSIZE("hard");
    R(openat(fd, "x", O_RDONLY));
    R(openat(999, "x", O_RDONLY));
    R(fchdir(999));
    R(fchdir(fd));
    R(chdir("absent"));
    R(chdir("hard"));

    /* the directory we stand in is renamed: relative names follow it */
    R(rename("../sub", "../renamed"));
    fd3 = F(open("after-rename", O_CREAT | O_RDWR, 0644));
    R(write(fd3, "here", 4));
    R(close(fd3));
    FILE_IS("../renamed/after-rename");
    R(close(subfd));
    R(close(fd));
    /* and removed */
    R(mkdir("doomed", 0755));
    R(chdir("doomed"));
    R(rmdir("../doomed"));
    F(open("x", O_CREAT | O_RDWR, 0644));
    say("getcwd %s\n", getcwd(b, sizeof b) ? "worked" : ename(errno));
    R(chdir(real));

    /* O_PATH directories, AT_EMPTY_PATH, /proc/self/cwd */
    int pd = F(open("renamed", O_PATH | O_DIRECTORY));
    fd = F(openat(pd, "via-path", O_CREAT | O_RDWR, 0644));
    R(write(fd, "o_path", 6));
    R(fstatat(fd, "", &st, AT_EMPTY_PATH));
    say("%ld\n", (long)st.st_size);
    R(close(fd));
    R(close(pd));
    fd = F(open("/proc/self/cwd/renamed/via-path", O_RDWR | O_APPEND));
    R(write(fd, "+proc", 5));
    R(close(fd));
    FILE_IS("renamed/via-path");

    /* a rename out of the directory and into it */
    make("traveller", 5000, 4);
    fd = F(open("traveller", O_RDWR));
    R(pwrite(fd, "staged", 6, 100));
    R(rename("traveller", O("traveller")));
    R(pwrite(fd, "abroad", 6, 200));
    R(access("traveller", F_OK));
    fd2 = F(open(O("traveller"), O_RDONLY));
    CONTENT(fd2);
    R(close(fd2));
    R(pwrite(fd, "return", 6, 300));
    R(rename(O("traveller"), "home-again"));
    FILE_IS("home-again");
    R(close(fd));
    FILE_IS("home-again");
    R(rename(O("third"), "third"));
    FILE_IS("third");
    R(link("third", O("fourth")));
    fd = F(open(O("fourth"), O_RDWR));
    R(write(fd, "by the other name", 17));
    FILE_IS("third");
    R(close(fd));
    FILE_IS("third");

    /* clean up what lies outside, and links that carry its name */
    R(unlink("out"));
    R(unlink("outdir"));
    static const char *names[] = {"target", "second", "in", "fourth"};
    for (int i = 0; i < 4; i++)
        R(unlink(O(names[i])));
    R(rmdir(outside));
    return 0;
}
