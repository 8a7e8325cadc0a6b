/* Run with a and b as mounts of their own inside the directory, or nested: files of both, moves between them. */
#include "common.h"

int main(int argc, char **argv)
{
    begin(argc, argv);
    static const char *dirs[] = {"a", "b", "a/in", "plain"};
    for (int i = 0; i < 4; i++)
        R(access(P(dirs[i]), F_OK));
    int fd[4];
    char n[64], b[100];
    for (int i = 0; i < 4; i++) {
        snprintf(n, sizeof n, "%s/f", dirs[i]);
        fd[i] = F(open(P(n), O_CREAT | O_RDWR, 0644));
        R(write(fd[i], n, strlen(n)));
    }
    for (int i = 0; i < 4; i++) {
        char *big = fill(grab(100000), 100000, (uint64_t)i);
        R(pwrite(fd[i], big, 3000, 50));
        R(pwrite(fd[i], big, 100000, 5000));
        R(pwrite(fd[i], big, 70, 20000));
        CONTENT(fd[i]);
    }
    /* moved from mount to mount while open, with staged bytes */
    R(rename(P("a/f"), P("b/from-a")));
    R(write(fd[0], " moved", 6));
    FILE_IS("b/from-a");
    R(rename(P("b/f"), P("plain/from-b")));
    R(write(fd[1], " moved", 6));
    FILE_IS("plain/from-b");
    R(rename(P("plain/f"), P("a/in/from-plain")));
    R(write(fd[3], " moved", 6));
    FILE_IS("a/in/from-plain");
    R(link(P("a/in/f"), P("a/second-name")));
    R(write(fd[2], " linked", 7));
    FILE_IS("a/second-name");
    int again = F(open(P("b/from-a"), O_RDWR | O_APPEND));
    R(write(again, "by the new name", 15));
    CONTENT(fd[0]);
    R(close(again));
    for (int i = 0; i < 4; i++)
        R(close(fd[i]));
    /* a whole folder with an open file */
    R(mkdir(P("a/folder"), 0755));
    int f = F(open(P("a/folder/g"), O_CREAT | O_RDWR, 0644));
    R(write(f, "in a folder", 11));
    R(rename(P("a/folder"), P("b/folder")));
    R(write(f, " that moved", 11));
    FILE_IS("b/folder/g");
    R(rename(P("b/folder"), P("plain/folder")));
    R(pwrite(f, "IN", 2, 0));
    FILE_IS("plain/folder/g");
    R(close(f));
    FILE_IS("plain/folder/g");
    /* links between them */
    R(symlink("../b/from-a", P("a/link")));
    f = F(open(P("a/link"), O_RDWR));
    R(pwrite(f, "LINK", 4, 0));
    R(close(f));
    FILE_IS("b/from-a");
    R(chdir(P("a/in")));
    f = F(open("../../b/relative", O_CREAT | O_RDWR, 0644));
    R(write(f, "relative", 8));
    R(chdir("../../plain"));
    int g = F(open("../b/relative", O_RDWR));
    R(pread(g, b, 100, 0));
    say("%.8s\n", b);
    R(close(f));
    R(close(g));
    return 0;
}
