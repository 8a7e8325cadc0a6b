/* I/O from signal handlers that interrupt I/O, EINTR, siglongjmp out of a handler, alternate stacks. */
#include "common.h"
#include <setjmp.h>
#include <sys/time.h>

static int in_handler, fd;
static volatile sig_atomic_t hits, wrong;
static sigjmp_buf env;

static void handler(int s)
{
    (void)s;
    int e = errno;
    char c = 'h';
    if (write(in_handler, &c, 1) != 1)
        wrong++;
    char b[8];
    if (pread(fd, b, 4, 0) != 4)
        wrong++;
    int f = open(P("opened"), O_CREAT | O_WRONLY, 0644);
    if (f < 0 || write(f, "x", 1) != 1 || close(f))
        wrong++;
    hits++;
    errno = e;
}
static void jumper(int s)
{
    (void)s;
    siglongjmp(env, 1);
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    char b[200];
    in_handler = F(open(P("by-handler"), O_CREAT | O_RDWR | O_APPEND, 0644));
    fd = F(open(P("main"), O_CREAT | O_RDWR, 0644));
    fill(b, 200, 1);
    R(write(fd, b, 200));

    /* synchronous */
    struct sigaction sa = {.sa_handler = handler};
    sigaction(SIGUSR1, &sa, NULL);
    for (int i = 0; i < 10; i++)
        raise(SIGUSR1);
    say("hits %d wrong %d\n", (int)hits, (int)wrong);
    CONTENT(in_handler);

    /* asynchronous: a timer fires while the main program writes without pause, until enough have come */
    P("x");
    sa.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &sa, NULL);
    struct itimerval it = {{0, 300}, {0, 300}};
    hits = 0;
    setitimer(ITIMER_REAL, &it, NULL);
    long n = 0;
    while (hits < 200) {
        fill(b, 100, (uint64_t)n % 50);
        if (pwrite(fd, b, 100, 200 + (n % 50) * 100) != 100)
            wrong++;
        if (pread(fd, b + 100, 100, 200 + (n % 50) * 100) != 100 || memcmp(b, b + 100, 100))
            wrong++;
        n++;
    }
    memset(&it, 0, sizeof it);
    setitimer(ITIMER_REAL, &it, NULL);
    for (n = 0; n < 50; n++) {
        fill(b, 100, (uint64_t)n);
        if (pwrite(fd, b, 100, 200 + n * 100) != 100)
            wrong++;
    }
    struct stat st;
    fstat(in_handler, &st);
    if (st.st_size != 10 + hits)
        say("size %ld after %d hits\n", (long)st.st_size, (int)hits);
    say("enough %d, size %s, wrong %d\n", hits >= 200, st.st_size == 10 + hits ? "right" : "wrong", (int)wrong);
    R(ftruncate(in_handler, 10));
    CONTENT(fd);

    /* a jump out of a handler that interrupted nothing of ours, and out of a blocking read */
    sa.sa_handler = jumper;
    sa.sa_flags = 0;
    sigaction(SIGUSR2, &sa, NULL);
    if (sigsetjmp(env, 1) == 0) {
        R(write(fd, "before the jump", 15));
        raise(SIGUSR2);
    }
    R(write(fd, "after the jump", 14));
    CONTENT(fd);

    /* EINTR on a pipe, with our file written in between */
    int p[2];
    R(pipe(p));
    sa.sa_handler = handler;
    sa.sa_flags = 0;
    sigaction(SIGALRM, &sa, NULL);
    struct itimerval once = {{0, 0}, {0, 20000}};
    setitimer(ITIMER_REAL, &once, NULL);
    R(read(p[0], b, 1));
    R(ftruncate(in_handler, 10));

    /* on an alternate stack of the smallest useful size */
    stack_t ss = {.ss_sp = grab(16384), .ss_size = 16384};
    R(sigaltstack(&ss, NULL));
    sa.sa_flags = SA_ONSTACK;
    sigaction(SIGUSR1, &sa, NULL);
    raise(SIGUSR1);
    CONTENT(in_handler);

    /* a write that a signal kills half way leaves a prefix: SIGXFSZ is in errors.c, here SIGPIPE by a closed pipe */
    R(close(p[0]));
    signal(SIGPIPE, SIG_IGN);
    R(write(p[1], "x", 1));
    R(write(fd, "still fine", 10));
    R(close(fd));
    R(close(in_handler));
    FILE_IS("main");
    FILE_IS("by-handler");
    FILE_IS("opened");
    return 0;
}
