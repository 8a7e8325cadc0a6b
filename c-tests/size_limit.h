/* RLIMIT_FSIZE, met by a child in every way that a write can meet it. Its hard limit is what the two programs differ in:
 * a soft one may be raised for a moment, a hard one may not. */
#ifndef SIZE_LIMIT_H
#define SIZE_LIMIT_H
#include "common.h"
#include <signal.h>
#include <sys/resource.h>

static void writes_up_to_a_limit(rlim_t hard)
{
    char b[5000];
    memset(b, 'b', sizeof b);
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGXFSZ, SIG_IGN);
        struct rlimit l = {10000, hard};
        R(setrlimit(RLIMIT_FSIZE, &l));
        int f = F(open(P("limited"), O_CREAT | O_RDWR, 0644));
        R(write(f, b, 5000));
        R(write(f, b, 4000));
        R(write(f, b, 4000));
        R(write(f, b, 10));
        R(pwrite(f, b, 10, 9995));
        R(pwrite(f, b, 10, 10000));
        R(pwrite(f, b, 10, 20000));
        R(ftruncate(f, 20000));
        R(pwrite(f, b, 10, 5));
        FSIZE(f);
        R(close(f));
        signal(SIGXFSZ, SIG_DFL);
        f = F(open(P("limited"), O_RDWR));
        R(pwrite(f, b, 10, 15000));
        _exit(0);
    }
    REAP(pid);
    FILE_IS("limited");
}
#endif
