/* Descriptors through exec: our own image again, another dynamic program, a static one. argv[2]: where they lie. */
#include "common.h"

static char dynamic_child[PATH_MAX], static_child[PATH_MAX];

static void run(const char *program, const char *what, const char *arg, int with_env)
{
    pid_t pid = fork();
    if (pid == 0) {
        if (with_env) {
            char *env[] = {"X=own", NULL};
            execle(program, program, what, arg, (char *)NULL, env);
        } else
            execl(program, program, what, arg, (char *)NULL);
        _exit(91);
    }
    REAP(pid);
}

static void all(const char *program)
{
    char n[16];
    int fd = F(open(P("e"), O_CREAT | O_RDWR | O_TRUNC, 0644));
    snprintf(n, sizeof n, "%d", fd);
    R(write(fd, "staged by the parent ", 21));
    run(program, "write", n, 0);
    R(lseek(fd, 0, SEEK_CUR));
    R(write(fd, "parent again ", 13));
    CONTENT(fd);
    R(lseek(fd, 10, SEEK_SET));
    run(program, "read", n, 0);
    R(lseek(fd, 0, SEEK_CUR));
    run(program, "both", n, 0);
    R(lseek(fd, 0, SEEK_CUR));
    R(write(fd, "after", 5));
    CONTENT(fd);
    run(program, "write", n, 1);
    CONTENT(fd);

    /* close-on-exec */
    R(fcntl(fd, F_SETFD, FD_CLOEXEC));
    run(program, "closed", n, 0);
    R(write(fd, "kept", 4));
    R(fcntl(fd, F_SETFD, 0));

    /* the child opens by name while the parent holds staged bytes */
    R(pwrite(fd, "small", 5, 0));
    run(program, "path", D, 0);
    CONTENT(fd);
    FILE_IS("made-by-child");
    R(pwrite(fd, "small too", 9, 40));
    run(program, "path", D, 1);
    CONTENT(fd);
    R(close(fd));
    FILE_IS("e");

    /* O_APPEND and a duplicate */
    fd = F(open(P("e"), O_RDWR | O_APPEND));
    int d = F(dup(fd));
    snprintf(n, sizeof n, "%d", d);
    R(write(fd, "appended ", 9));
    run(program, "write", n, 0);
    R(write(fd, "appended too ", 13));
    CONTENT(d);
    R(close(d));
    R(close(fd));
    FILE_IS("e");

    /* standard streams on files of the mount */
    make("input", 1234, 3);
    pid_t pid = fork();
    if (pid == 0) {
        int i = open(P("input"), O_RDONLY), o = open(P("output"), O_CREAT | O_WRONLY | O_TRUNC, 0644);
        int e = open(P("errors"), O_CREAT | O_WRONLY | O_TRUNC | O_APPEND, 0644);
        if (write(o, "before exec ", 12) != 12)
            _exit(1);
        dup2(i, 0);
        dup2(o, 1);
        dup2(e, 2);
        close(i);
        close(o);
        close(e);
        execl(program, program, "std", "0", (char *)NULL);
        _exit(92);
    }
    REAP(pid);
    FILE_IS("output");
    FILE_IS("errors");
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    if (argc < 3)
        return 90;
    if (argc > 3) {
        /* second life of this very program */
        int fd = atoi(argv[3]);
        R(lseek(fd, 0, SEEK_CUR));
        R(write(fd, "second life ", 12));
        CONTENT(fd);
        FILE_IS("self");
        if (argc == 4) {
            char *again[] = {argv[0], argv[1], argv[2], argv[3], "third", NULL};
            char *env[] = {"A=b", NULL};
            execve("/proc/self/exe", again, env);
            return 93;
        }
        return 0;
    }
    snprintf(dynamic_child, sizeof dynamic_child, "%s/exec_child", argv[2]);
    snprintf(static_child, sizeof static_child, "%s/exec_child-static", argv[2]);
    say("-- dynamic\n");
    all(dynamic_child);
    say("-- static\n");
    all(static_child);

    say("-- itself, by exec without fork\n");
    int hidden = F(open(P("hidden"), O_CREAT | O_RDWR | O_CLOEXEC, 0644));
    R(write(hidden, "closed by exec", 14));
    int failed = F(open(P("e"), O_RDWR));
    R(pwrite(failed, "Z", 1, 0));
    R(execl(P("no-such-program"), "x", (char *)NULL));
    R(pwrite(failed, "Y", 1, 1));
    CONTENT(failed);
    R(close(failed));
    int fd = F(open(P("self"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "first life ", 11));
    char n[16];
    snprintf(n, sizeof n, "%d", fd);
    execl("/proc/self/exe", argv[0], argv[1], argv[2], n, (char *)NULL);
    return 94;
}
