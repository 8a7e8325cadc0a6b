/* dup, dup2, dup3, F_DUPFD: one description, one offset, one set of status flags. */
#include "common.h"

int main(int argc, char **argv)
{
    begin(argc, argv);
    char b[100];
    int fd = F(open(P("d"), O_CREAT | O_RDWR, 0644));
    int d1 = F(dup(fd)), d2 = F(fcntl(fd, F_DUPFD, 100)), d3 = F(fcntl(fd, F_DUPFD_CLOEXEC, 200));
    int d4 = R(dup2(fd, 300)), d5 = R(dup3(fd, 301, O_CLOEXEC));
    say("numbers %d %d\n", d2, d3);
    R(write(fd, "one ", 4));
    R(write(d1, "two ", 4));
    R(write(d2, "three ", 6));
    R(write(d3, "four ", 5));
    R(write(d4, "five ", 5));
    R(write(d5, "six ", 4));
    R(lseek(fd, 0, SEEK_CUR));
    R(lseek(d3, 4, SEEK_SET));
    R(read(fd, b, 4));
    say("%.4s\n", b);
    R(read(d5, b, 6));
    say("%.6s\n", b);
    R(lseek(d1, 0, SEEK_CUR));
    R(fcntl(d1, F_GETFD));
    R(fcntl(d3, F_GETFD));
    R(fcntl(d5, F_GETFD));
    R(fcntl(d3, F_SETFD, 0));
    R(fcntl(d3, F_GETFD));

    /* status flags belong to the description */
    R(fcntl(d2, F_SETFL, O_APPEND));
    R(fcntl(fd, F_GETFL) & O_APPEND);
    R(lseek(fd, 0, SEEK_SET));
    R(write(d1, "appended", 8));
    R(lseek(d4, 0, SEEK_CUR));
    R(fcntl(d5, F_SETFL, 0));
    R(fcntl(fd, F_GETFL) & O_APPEND);
    R(lseek(fd, 0, SEEK_SET));
    R(write(d1, "ONE", 3));
    CONTENT(fd);

    /* a second open has its own */
    int o = F(open(P("d"), O_RDWR));
    R(lseek(o, 0, SEEK_CUR));
    R(fcntl(fd, F_SETFL, O_APPEND));
    R(fcntl(o, F_GETFL) & O_APPEND);
    R(write(o, "own", 3));
    R(fcntl(fd, F_SETFL, 0));
    CONTENT(fd);

    /* closing one leaves the others */
    R(close(fd));
    R(write(d1, "alive", 5));
    R(write(fd, "dead", 4));
    R(close(d1));
    R(close(d2));
    R(close(d3));
    R(write(d4, " last", 5));
    R(lseek(d5, 0, SEEK_CUR));
    R(close(d4));
    CONTENT(d5);
    NSIZE("d");
    R(close(d5));
    FILE_IS("d");

    /* dup2 over an open file closes it: its bytes are whole */
    int x = F(open(P("x"), O_CREAT | O_RDWR, 0644));
    R(write(x, "xxxxx", 5));
    R(dup2(o, x) == x);
    FILE_IS("x");
    R(lseek(o, 0, SEEK_END));
    R(write(x, "via x", 5));
    R(dup2(x, x) == x);
    R(dup3(x, x, 0));
    R(dup2(x, -1));
    R(dup2(-1, x));
    R(dup2(x, 1 << 28));
    R(dup(-1));
    R(fcntl(x, F_DUPFD, -1));
    R(fcntl(x, F_DUPFD, 1 << 28));
    R(dup3(x, 400, O_APPEND));
    R(write(x, " still", 6));
    R(close(x));
    R(write(o, " o", 2));
    CONTENT(o);
    R(close(o));
    FILE_IS("d");

    /* a pipe over a file's number, a file over a pipe's number */
    int p[2];
    R(pipe(p));
    int f = F(open(P("f"), O_CREAT | O_RDWR, 0644));
    R(write(f, "before", 6));
    R(dup2(p[1], f) == f);
    R(write(f, "to pipe", 7));
    R(read(p[0], b, 100));
    FILE_IS("f");
    int g = F(open(P("f"), O_RDWR));
    R(dup2(g, p[1]) == p[1]);
    R(write(p[1], "AFTER", 5));
    R(close(g));
    R(write(p[1], "+more", 5));
    R(close(p[1]));
    R(close(f));
    R(read(p[0], b, 100));
    R(close(p[0]));
    FILE_IS("f");

    /* the classic: save stdout, put a file on it, write, restore */
    int saved = F(dup(1));
    int out = F(open(P("out"), O_CREAT | O_WRONLY | O_TRUNC, 0644));
    dup2(out, 1);
    close(out);
    say("this line goes to the file\n");
    if (write(1, "raw\n", 4) != 4)
        _exit(97);
    dup2(saved, 1);
    R(close(saved));
    FILE_IS("out");

    /* a hundred duplicates, all write a byte, closed in odd order */
    int many[100];
    f = F(open(P("many"), O_CREAT | O_RDWR, 0644));
    for (int i = 0; i < 100; i++)
        many[i] = dup(f);
    for (int i = 0; i < 100; i++) {
        char c = (char)('0' + i % 10);
        if (write(many[(i * 37) % 100], &c, 1) != 1)
            die("write");
    }
    R(lseek(f, 0, SEEK_CUR));
    R(close(f));
    for (int i = 0; i < 99; i++)
        close(many[(i * 61) % 100]);
    R(write(many[(99 * 61) % 100], "!", 1));
    R(close(many[(99 * 61) % 100]));
    FILE_IS("many");
    return 0;
}
