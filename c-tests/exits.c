/* The many ways to end a process, with staged bytes, unflushed stdio and files never closed. argv[2]: helpers. */
#include "common.h"
#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static int at_fd = -1;
static FILE *at_stream;

static void late(void)
{
    if (write(at_fd, "by atexit ", 10) != 10)
        _exit(66);
    fputs("stream by atexit ", at_stream);
    int n = open(P("new-at-exit"), O_CREAT | O_WRONLY | O_TRUNC, 0644);
    if (write(n, "opened at exit", 14) != 14)
        _exit(67);
    /* never closed */
}
static void later(int status, void *arg)
{
    char t[40];
    int n = snprintf(t, sizeof t, "on_exit %d %s ", status, (char *)arg);
    if (write(at_fd, t, (size_t)n) != n)
        _exit(68);
}
static void quick(void)
{
    if (write(at_fd, "at_quick_exit ", 14) != 14)
        _exit(69);
}
static void *thread_exit(void *arg)
{
    if (write(at_fd, "thread ", 7) != 7)
        _exit(70);
    if (arg)
        exit(4);
    return NULL;
}

static void child(int how)
{
    signal(SIGTERM, SIG_DFL);
    struct rlimit nocore = {0, 0};
    setrlimit(RLIMIT_CORE, &nocore);
    at_fd = open(P("fd"), O_CREAT | O_RDWR | O_TRUNC, 0644);
    at_stream = fopen(P("stream"), "w");
    FILE *lost = fopen(P("line"), "w");
    setvbuf(lost, NULL, _IOLBF, 0);
    if (write(at_fd, "staged ", 7) != 7)
        _exit(65);
    fputs("in the buffer ", at_stream);
    fputs("a whole line\nand a half", lost);
    switch (how) {
    case 0: exit(3);
    case 1: _exit(3);
    case 2: _Exit(3);
    case 3: at_quick_exit(quick); quick_exit(3);
    case 4: abort();
    case 5: kill(getpid(), SIGTERM); pause(); break;
    case 6: kill(getpid(), SIGKILL); pause(); break;
    case 7: raise(SIGSEGV); break;
    case 8: atexit(late); exit(3);
    case 9: on_exit(later, "arg"); atexit(late); exit(7);
    case 10: syscall(SYS_exit_group, 3); break;
    case 11: {
        pthread_t t;
        pthread_create(&t, NULL, thread_exit, (void *)1);
        pause();
        break;
    }
    case 12: {
        pthread_t t;
        pthread_create(&t, NULL, thread_exit, NULL);
        pthread_exit(NULL); /* the process lives until the last thread ends */
    }
    case 13: fclose(at_stream); close(at_fd); fclose(lost); exit(0);
    case 14: *(volatile int *)8 = 1; break;
    case 15: fflush(at_stream); raise(SIGINT); break;
    }
    _exit(99);
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    if (argc < 3)
        return 90;
    for (int how = 0; how <= 15; how++) {
        say("-- way %d\n", how);
        pid_t pid = fork();
        if (pid == 0)
            child(how);
        REAP(pid);
        FILE_IS("fd");
        FILE_IS("stream");
        FILE_IS("line");
        FILE_IS("new-at-exit");
        unlink(P("new-at-exit"));
    }
    /* a library of the program writes in its destructor, after everybody else's exit work */
    char prog[PATH_MAX];
    snprintf(prog, sizeof prog, "%.4000s/late_writer", argv[2]);
    for (int mode = 0; mode < 3; mode++) {
        pid_t pid = fork();
        if (pid == 0) {
            execl(prog, prog, P("late"), mode == 0 ? "return" : mode == 1 ? "exit" : "_exit", (char *)NULL);
            _exit(91);
        }
        REAP(pid);
        FILE_IS("late");
        FILE_IS("late.2");
        FILE_IS("late.3");
    }
    /* and this process leaves its own files open */
    at_fd = open(P("own-fd"), O_CREAT | O_RDWR, 0644);
    at_stream = fopen(P("own-stream"), "w");
    R(write(at_fd, "left open ", 10));
    V(fputs("unflushed", at_stream));
    atexit(late);
    return 0;
}
