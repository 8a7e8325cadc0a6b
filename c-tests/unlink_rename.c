/* unlink while open, rename over an open file, rename of a directory with open files, exchange, hard links. */
#include "common.h"
#include <sys/syscall.h>

int main(int argc, char **argv)
{
    begin(argc, argv);
    char b[100];

    /* unlinked while open */
    int fd = F(open(P("u"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "staged", 6));
    R(unlink(P("u")));
    FSIZE(fd);
    R(write(fd, " and more", 9));
    CONTENT(fd);
    int again = F(open(P("u"), O_CREAT | O_EXCL | O_RDWR, 0600));
    R(write(again, "another file", 12));
    CONTENT(fd);
    CONTENT(again);
    R(ftruncate(fd, 3));
    CONTENT(fd);
    R(close(fd));
    FILE_IS("u");
    R(close(again));
    FILE_IS("u");
    R(unlink(P("u")));
    R(unlink(P("u")));
    /* the name and inode may be reused at once: nothing of the old may show */
    for (int i = 0; i < 20; i++) {
        int f = open(P("reuse"), O_CREAT | O_RDWR, 0644);
        if (lseek(f, 0, SEEK_END) != 0 || pread(f, b, 100, 0) != 0)
            say("reuse %d: not empty\n", i);
        if (pwrite(f, "old bytes", 9, i * 10) != 9)
            die("pwrite");
        if (i % 2)
            close(f);
        unlink(P("reuse"));
        if (i % 2 == 0)
            close(f);
    }
    NSIZE("reuse");

    /* rename over an open file */
    int a = F(open(P("a"), O_CREAT | O_RDWR, 0644)), c = F(open(P("b"), O_CREAT | O_RDWR, 0644));
    R(write(a, "file a ", 7));
    R(write(c, "file b is longer ", 17));
    R(rename(P("a"), P("b")));
    FILE_IS("a");
    FILE_IS("b");
    R(write(a, "goes on ", 8));
    R(write(c, "nameless", 8));
    FILE_IS("b");
    CONTENT(a);
    CONTENT(c);
    R(close(c));
    R(close(a));
    FILE_IS("b");

    /* the editor's way: write a new file, sync, rename over the old */
    for (int i = 0; i < 10; i++) {
        int t = open(P("doc.tmp"), O_CREAT | O_EXCL | O_WRONLY, 0644);
        char text[64];
        int n = snprintf(text, sizeof text, "version %d of the document\n", i);
        if (write(t, text, (size_t)n) != n || (i % 2 && fsync(t)) || close(t) || rename(P("doc.tmp"), P("doc")))
            die("save");
        FILE_IS("doc");
    }
    /* renamed before close */
    int t = F(open(P("doc.tmp"), O_CREAT | O_EXCL | O_WRONLY, 0644));
    R(write(t, "renamed while open", 18));
    R(rename(P("doc.tmp"), P("doc")));
    FILE_IS("doc");
    R(write(t, ", then more", 11));
    FILE_IS("doc");
    R(close(t));
    FILE_IS("doc");

    /* a directory that holds an open file */
    R(mkdir(P("dir"), 0755));
    R(mkdir(P("dir/sub"), 0755));
    fd = F(open(P("dir/sub/f"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "inside", 6));
    R(rename(P("dir"), P("moved")));
    R(write(fd, " moved", 6));
    FILE_IS("moved/sub/f");
    FILE_IS("dir/sub/f");
    R(mkdir(P("dir"), 0755));
    R(rename(P("moved/sub"), P("dir/other")));
    R(pwrite(fd, "INSIDE", 6, 0));
    FILE_IS("dir/other/f");
    R(close(fd));
    FILE_IS("dir/other/f");
    R(rename(P("dir"), P("moved/x/y")));
    R(rename(P("moved"), P("moved/below")));
    R(rename(P("dir/other/f"), P("moved")));
    R(rename(P("moved"), P("dir")));
    R(rmdir(P("dir")));
    R(rmdir(P("moved")));

    /* exchange and no-replace */
    a = F(open(P("x1"), O_CREAT | O_RDWR, 0644));
    c = F(open(P("x2"), O_CREAT | O_RDWR, 0644));
    R(write(a, "one", 3));
    R(write(c, "two", 3));
    R(renameat2(AT_FDCWD, P("x1"), AT_FDCWD, P("x2"), RENAME_EXCHANGE));
    FILE_IS("x1");
    FILE_IS("x2");
    R(write(a, "+", 1));
    R(write(c, "-", 1));
    FILE_IS("x1");
    FILE_IS("x2");
    R(renameat2(AT_FDCWD, P("x1"), AT_FDCWD, P("x2"), RENAME_NOREPLACE));
    R(renameat2(AT_FDCWD, P("x1"), AT_FDCWD, P("x3"), RENAME_NOREPLACE));
    R(syscall(SYS_rename, P("x3"), P("x1")));
    R(close(a));
    R(close(c));
    FILE_IS("x1");
    FILE_IS("x2");

    /* hard links: two names, opened by both */
    a = F(open(P("l1"), O_CREAT | O_RDWR, 0644));
    R(write(a, "first name ", 11));
    R(link(P("l1"), P("l2")));
    c = F(open(P("l2"), O_RDWR | O_APPEND));
    R(write(c, "second name ", 12));
    R(write(a, "over", 4));
    CONTENT(a);
    CONTENT(c);
    NSIZE("l1");
    NSIZE("l2");
    R(unlink(P("l1")));
    R(write(a, "the name", 8));
    FILE_IS("l2");
    NSIZE("l2");
    R(link(P("l2"), P("l3")));
    R(link(P("l2"), P("l3")));
    R(rename(P("l2"), P("l3"))); /* two names of one file: nothing happens */
    NSIZE("l2");
    R(close(a));
    R(write(c, "end", 3));
    R(close(c));
    FILE_IS("l2");
    FILE_IS("l3");
    R(linkat(AT_FDCWD, P("absent"), AT_FDCWD, P("l4"), 0));
    R(link(P("dir"), P("l5")));

    /* remove() and unlinkat() */
    fd = F(open(P("r"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "gone", 4));
    R(remove(P("r")));
    CONTENT(fd);
    R(close(fd));
    int d = F(open(P(""), O_RDONLY | O_DIRECTORY));
    fd = F(openat(d, "r", O_CREAT | O_RDWR, 0644));
    R(write(fd, "gone too", 8));
    R(unlinkat(d, "r", 0));
    R(unlinkat(d, "r", 0));
    R(mkdirat(d, "rd", 0700));
    R(unlinkat(d, "rd", 0));
    R(unlinkat(d, "rd", AT_REMOVEDIR));
    R(renameat(d, "l3", d, "l3b"));
    R(close(fd));
    R(close(d));
    R(unlink(P("dir")));
    FILE_IS("l3b");

    /* deleted by another process while we write */
    fd = F(open(P("victim"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "abc", 3));
    pid_t pid = fork();
    if (pid == 0)
        _exit(unlink(P("victim")));
    REAP(pid);
    R(write(fd, "def", 3));
    CONTENT(fd);
    FSIZE(fd);
    R(close(fd));
    NSIZE("victim");
    return 0;
}
