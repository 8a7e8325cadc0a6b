/* Thousands of files open at once with staged bytes in each, up to the limit of descriptors; numbers used again. */
#include "common.h"
#include <sys/resource.h>
#include <sys/syscall.h>

#define N 3000

int main(int argc, char **argv)
{
    begin(argc, argv);
    struct rlimit l;
    getrlimit(RLIMIT_NOFILE, &l);
    l.rlim_cur = N + 200 < l.rlim_max ? N + 200 : l.rlim_max;
    R(setrlimit(RLIMIT_NOFILE, &l));
    static int fds[N];
    char n[32], b[200];
    int ok = 0, wrong = 0;
    R(mkdir(P("d"), 0755));
    for (int i = 0; i < N; i++) {
        snprintf(n, sizeof n, "d/f%d", i);
        fds[i] = open(P(n), O_CREAT | O_RDWR, 0644);
        if (fds[i] < 0) {
            say("open %d: %s\n", i, ename(errno));
            return 1;
        }
        if (write(fds[i], n, strlen(n)) == (ssize_t)strlen(n))
            ok++;
    }
    say("opened and written %d\n", ok);
    for (int r = 0; r < 3; r++)
        for (int i = 0; i < N; i++) {
            fill(b, 100, (uint64_t)(i * 3 + r));
            if (pwrite(fds[i], b, 100, 20 + r * 100) != 100)
                wrong++;
        }
    for (int i = 0; i < N; i++) {
        snprintf(n, sizeof n, "d/f%d", i);
        char g[400];
        ssize_t k = pread(fds[i], g, 400, 0);
        if (k != 320 || memcmp(g, n, strlen(n)))
            wrong++;
        fill(b, 100, (uint64_t)(i * 3 + 2));
        if (memcmp(g + 220, b, 100))
            wrong++;
    }
    say("wrong %d\n", wrong);
    /* to the very limit */
    int more = 0, last = -1, x;
    while ((x = open(P("one-more"), O_CREAT | O_RDWR, 0644)) >= 0) {
        more++;
        last = x;
    }
    say("at the limit: %s, last %d of %d\n", ename(errno), last, (int)l.rlim_cur);
    R(write(last, "at the limit", 12));
    R(fsync(last));
    CONTENT(last);
    R(pwrite(fds[5], "still served", 12, 0));
    CONTENT(fds[5]);
    int dfd = open(P("d"), O_RDONLY);
    R(dfd);
    for (int i = 0; i < more; i++)
        close(last - i);
    /* every other one closed, numbers used again for other files */
    for (int i = 0; i < N; i += 2)
        if (close(fds[i]))
            wrong++;
    for (int i = 0; i < N; i += 2) {
        snprintf(n, sizeof n, "d/g%d", i);
        fds[i] = open(P(n), O_CREAT | O_RDWR, 0644);
        if (write(fds[i], "second life", 11) != 11)
            wrong++;
    }
    for (int i = 0; i < N; i++)
        if (pwrite(fds[i], "tail", 4, 400) != 4)
            wrong++;
    say("wrong %d\n", wrong);
    /* all closed at once */
    int lo = fds[0];
    for (int i = 0; i < N; i++)
        if (fds[i] < lo)
            lo = fds[i];
    R(close_range((unsigned)lo, ~0U, 0));
    R(write(fds[7], "x", 1));
    R(write(fds[8], "x", 1));
    FILE_IS("d/f7");
    FILE_IS("d/f8");
    FILE_IS("d/g8");
    int f = F(open(P("after"), O_CREAT | O_RDWR, 0644));
    say("lowest again %d\n", f == lo);
    R(write(f, "after close_range", 17));
    R(close_range((unsigned)f, (unsigned)f, CLOSE_RANGE_CLOEXEC));
    R(fcntl(f, F_GETFD));
    R(write(f, "!", 1));
    R(close_range(5, 3, 0));
    CONTENT(f);
    closefrom(f);
    R(write(f, "!", 1));
    FILE_IS("after");
    /* close every number there could be, as daemons do: nothing of the library's own may break */
    for (int i = 3; i < (int)l.rlim_cur; i++)
        close(i);
    f = F(open(P("daemon"), O_CREAT | O_RDWR, 0644));
    R(write(f, "after closing all", 17));
    CONTENT(f);
    pid_t pid = fork();
    if (pid == 0) {
        R(syscall(SYS_close_range, 3u, ~0u, 0u));
        int g = F(open(P("daemon"), O_RDWR | O_APPEND));
        R(write(g, ", again", 7));
        R(close(g));
        _exit(0);
    }
    REAP(pid);
    CONTENT(f);
    return 0;
}
