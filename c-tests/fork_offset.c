/* fork: parent and child share one open file description, its offset and its flags. */
#include "common.h"

int main(int argc, char **argv)
{
    begin(argc, argv);
    char b[100];

    /* the child writes after the parent, the parent after the child */
    int fd = F(open(P("f"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "parent1 ", 8));
    pid_t pid = fork();
    if (pid == 0) {
        R(lseek(fd, 0, SEEK_CUR));
        R(write(fd, "child1 ", 7));
        pid_t g = fork();
        if (g == 0) {
            R(write(fd, "grandchild ", 11));
            _exit(0);
        }
        REAP(g);
        R(lseek(fd, 0, SEEK_CUR));
        R(write(fd, "child2 ", 7));
        _exit(7);
    }
    REAP(pid);
    R(lseek(fd, 0, SEEK_CUR));
    R(write(fd, "parent2 ", 8));
    CONTENT(fd);

    /* interleaving, step by step */
    struct gate up = gate(), down = gate();
    pid = fork();
    if (pid == 0) {
        for (int i = 0; i < 30; i++) {
            await(down, 1);
            char t[32];
            int n = snprintf(t, sizeof t, "c%d ", i);
            if (write(fd, t, (size_t)n) != n)
                _exit(1);
            pass(up, 1);
        }
        await(down, 1);
        R(lseek(fd, 5, SEEK_SET));
        pass(up, 1);
        await(down, 1);
        R(read(fd, b, 10));
        say("child read %.10s\n", b);
        R(fcntl(fd, F_SETFL, O_APPEND));
        pass(up, 1);
        _exit(0);
    }
    for (int i = 0; i < 30; i++) {
        char t[32];
        int n = snprintf(t, sizeof t, "p%d ", i);
        if (write(fd, t, (size_t)n) != n)
            die("write");
        pass(down, 1);
        await(up, 1);
    }
    pass(down, 1);
    await(up, 1);
    R(read(fd, b, 5));
    say("parent read %.5s\n", b);
    pass(down, 1);
    await(up, 1);
    REAP(pid);
    R(lseek(fd, 0, SEEK_CUR));
    R(fcntl(fd, F_GETFL) & O_APPEND);
    R(write(fd, "!", 1));
    CONTENT(fd);
    R(close(fd));
    FILE_IS("f");

    /* the parent closes, the child goes on (and the reverse) */
    fd = F(open(P("g"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "start ", 6));
    up = gate();
    pid = fork();
    if (pid == 0) {
        await(up, 1);
        R(write(fd, "orphaned ", 9));
        R(lseek(fd, 0, SEEK_CUR));
        R(close(fd));
        _exit(0);
    }
    R(close(fd));
    FILE_IS("g");
    pass(up, 1);
    REAP(pid);
    FILE_IS("g");
    fd = F(open(P("g"), O_RDWR | O_APPEND));
    pid = fork();
    if (pid == 0) {
        R(write(fd, "child ", 6));
        R(close(fd));
        R(write(fd, "x", 1));
        _exit(0);
    }
    REAP(pid);
    R(write(fd, "parent ", 7));
    R(lseek(fd, 0, SEEK_CUR));
    R(close(fd));
    FILE_IS("g");

    /* the child leaves without closing, by _exit, exit and a signal */
    for (int how = 0; how < 4; how++) {
        fd = open(P("h"), O_CREAT | O_RDWR | O_TRUNC, 0644);
        R(write(fd, "base ", 5));
        pid = fork();
        if (pid == 0) {
            int own = open(P("own"), O_CREAT | O_WRONLY | O_TRUNC, 0644);
            if (write(fd, "left ", 5) != 5 || write(own, "mine", 4) != 4)
                _exit(1);
            if (how == 0)
                _exit(0);
            if (how == 1)
                exit(0);
            if (how == 2)
                kill(getpid(), SIGTERM);
            kill(getpid(), SIGKILL);
        }
        REAP(pid);
        R(write(fd, "on", 2));
        CONTENT(fd);
        R(close(fd));
        FILE_IS("h");
        FILE_IS("own");
        R(unlink(P("own")));
    }

    /* two children of one parent share the offset with one another */
    fd = F(open(P("two"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "0 ", 2));
    up = gate();
    down = gate();
    pid_t a = fork();
    if (a == 0) {
        R(write(fd, "a1 ", 3));
        pass(down, 1);
        await(up, 1);
        R(write(fd, "a2 ", 3));
        pass(down, 1);
        _exit(0);
    }
    await(down, 1);
    pid_t c = fork();
    if (c == 0) {
        R(write(fd, "c1 ", 3));
        pass(up, 1);
        await(down, 1);
        R(write(fd, "c2 ", 3));
        R(pread(fd, b, 14, 0));
        say("%.14s\n", b);
        _exit(0);
    }
    REAP(c); /* the later of the two first: their lines never mix with ours */
    REAP(a);
    R(write(fd, "end", 3));
    R(close(fd));
    FILE_IS("two");

    /* many writes on both sides at once through the one offset: none is lost */
    fd = F(open(P("race"), O_CREAT | O_RDWR, 0644));
    up = gate();
    for (int i = 0; i < 3; i++)
        if (fork() == 0) {
            await(up, 1);
            char r[50];
            memset(r, 'a' + i, sizeof r);
            for (int k = 0; k < 300; k++)
                if (write(fd, r, sizeof r) != sizeof r)
                    _exit(1);
            _exit(0);
        }
    pass(up, 3);
    for (int i = 0; i < 3; i++) {
        int st;
        wait(&st);
        if (st)
            say("child status %d\n", st);
    }
    R(lseek(fd, 0, SEEK_CUR));
    int count[3] = {0}, torn = 0;
    char r[50];
    lseek(fd, 0, SEEK_SET);
    while (read(fd, r, 50) == 50) {
        for (int i = 1; i < 50; i++)
            if (r[i] != r[0]) {
                torn++;
                break;
            }
        if (r[0] >= 'a' && r[0] < 'd')
            count[r[0] - 'a']++;
    }
    say("race: %d %d %d torn %d\n", count[0], count[1], count[2], torn);
    R(close(fd));
    R(unlink(P("race")));
    return 0;
}
