/* posix_spawn with file actions, system, popen, vfork and exec, daemons. argv[2]: where the children lie. */
#include "common.h"
#include <spawn.h>
#include <sys/syscall.h>

extern char **environ;
static char child[PATH_MAX], schild[PATH_MAX];

/* The child prints too: wait for it before printing what the call itself gave. */
#define SPAWN(expr)                                                                                                   \
    do {                                                                                                              \
        int e_ = (expr);                                                                                              \
        if (!e_)                                                                                                      \
            REAP(pid);                                                                                                \
        say("%d: %s = %s\n", __LINE__, #expr, ename(e_));                                                             \
    } while (0)

static void spawned(const char *program, int fd)
{
    char n[16];
    snprintf(n, sizeof n, "%d", fd);
    char *args[] = {(char *)program, "write", n, NULL};
    char *bare[] = {"X=spawn", NULL};
    pid_t pid;
    SPAWN(posix_spawn(&pid, program, NULL, NULL, args, environ));
    SPAWN(posix_spawn(&pid, program, NULL, NULL, args, bare));
    SPAWN(posix_spawnp(&pid, program, NULL, NULL, args, bare));

    /* the child's standard streams become files of the mount, opened by the child itself */
    char *std[] = {(char *)program, "std", "0", NULL};
    posix_spawn_file_actions_t fa;
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_addopen(&fa, 0, P("input"), O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&fa, 1, P("spawn-out"), O_CREAT | O_WRONLY | O_TRUNC, 0640);
    posix_spawn_file_actions_adddup2(&fa, fd, 2);
    SPAWN(posix_spawn(&pid, program, &fa, NULL, std, environ));
    posix_spawn_file_actions_destroy(&fa);
    FILE_IS("spawn-out");
    R(lseek(fd, 0, SEEK_CUR));

    /* the same with our staged bytes in the input and an fd closed */
    posix_spawn_file_actions_init(&fa);
    int in = F(open(P("input2"), O_CREAT | O_RDWR | O_TRUNC, 0644));
    R(write(in, "0123456789", 10));
    R(lseek(in, 4, SEEK_SET));
    posix_spawn_file_actions_adddup2(&fa, in, 0);
    posix_spawn_file_actions_addclose(&fa, in);
    posix_spawn_file_actions_adddup2(&fa, fd, 1);
    SPAWN(posix_spawn(&pid, program, &fa, NULL, std, bare));
    posix_spawn_file_actions_destroy(&fa);
    R(lseek(in, 0, SEEK_CUR));
    R(close(in));
    R(write(fd, "parent ", 7));
    CONTENT(fd);
    SPAWN(posix_spawn(&pid, "/no/such/program", NULL, NULL, args, environ));
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    if (argc < 3)
        return 90;
    snprintf(child, sizeof child, "%s/exec_child", argv[2]);
    snprintf(schild, sizeof schild, "%s/exec_child-static", argv[2]);
    setenv("X", "outer", 1);
    unsetenv("HOME");
    make("input", 777, 1);
    int fd = F(open(P("log"), O_CREAT | O_RDWR | O_APPEND, 0644));
    R(write(fd, "log: ", 5));
    spawned(child, fd);
    spawned(schild, fd);

    /* vfork and exec, as subprocess modules do */
    char n[16];
    snprintf(n, sizeof n, "%d", fd);
    char *args[] = {child, "env", n, NULL};
    char *bare[] = {"X=vfork", "HOME=/nowhere", NULL};
    pid_t pid = vfork();
    if (pid == 0) {
        execve(child, args, bare);
        _exit(91);
    }
    REAP(pid);
    pid = vfork();
    if (pid == 0) {
        dup2(fd, 1);
        execv(schild, args);
        _exit(91);
    }
    REAP(pid);
    R(write(fd, "after vfork ", 12));
    pid = vfork();
    if (pid == 0)
        _exit(17);
    REAP(pid);
    CONTENT(fd);

    /* a shell on files of the mount */
    char cmd[4 * PATH_MAX];
    R(chdir(D));
    D = ".";
    R(write(fd, "before system ", 14));
    V(system("cat log | wc -c; echo from the shell >> log; head -c 20 log"));
    R(write(fd, "after system ", 13));
    CONTENT(fd);
    V(system("exit 9"));
    V(system(NULL) != 0);
    V(system("printf 'a\\nb\\nc\\n' > lines; sort -r lines > sorted; cp sorted copy; cat copy; rm lines"));
    FILE_IS("sorted");
    FILE_IS("copy");

    FILE *p = popen("cat input2; echo; cat >> log", "w");
    fprintf(p, "through a pipe\n");
    V(pclose(p));
    p = popen("cat log | tr a-z A-Z", "r");
    size_t total = 0;
    uint64_t h = 0xcbf29ce484222325u;
    int c;
    while ((c = fgetc(p)) != EOF) {
        char ch = (char)c;
        h = hash_more(h, &ch, 1);
        total++;
    }
    V(pclose(p));
    say("popen gave %zu bytes, hash %016lx\n", total, (unsigned long)h);
    CONTENT(fd);

    /* the shell gets our descriptor by number */
    snprintf(cmd, sizeof cmd, "echo shell wrote here >&%d; read x <&0; echo got $x", fd);
    int in = F(open("input3", O_CREAT | O_RDWR, 0644));
    R(write(in, "a line for the shell\nanother\n", 29));
    R(lseek(in, 2, SEEK_SET));
    int saved = dup(0);
    dup2(in, 0);
    V(system(cmd));
    dup2(saved, 0);
    R(lseek(in, 0, SEEK_CUR));
    R(close(in));
    R(lseek(fd, 0, SEEK_END));
    CONTENT(fd);

    /* exec by the other names */
    static const char *names[] = {"execl", "execle", "execlp", "execv", "execvp", "execvpe", "fexecve", "syscall"};
    for (int i = 0; i < 8; i++) {
        pid = fork();
        if (pid == 0) {
            if (write(fd, names[i], strlen(names[i])) < 0)
                _exit(1);
            int ex = open(child, O_RDONLY | O_CLOEXEC);
            switch (i) {
            case 0: execl(child, child, "env", n, (char *)NULL); break;
            case 1: execle(child, child, "env", n, (char *)NULL, bare); break;
            case 2: execlp(child, child, "env", n, (char *)NULL); break;
            case 3: execv(child, args); break;
            case 4: execvp(child, args); break;
            case 5: execvpe(child, args, bare); break;
            case 6: fexecve(ex, args, bare); break;
            case 7: syscall(SYS_execve, child, args, bare); break;
            }
            _exit(92);
        }
        REAP(pid);
    }
    R(close(fd));
    FILE_IS("log");

    /* a grandchild that outlives its parent */
    struct gate done = gate(), go = gate();
    fd = F(open("daemon", O_CREAT | O_RDWR, 0644));
    R(write(fd, "parent ", 7));
    pid = fork();
    if (pid == 0) {
        setsid();
        if (fork() == 0) {
            await(go, 1);
            if (write(fd, "daemon ", 7) != 7)
                _exit(1);
            close(fd);
            pass(done, 1);
            _exit(0);
        }
        _exit(0);
    }
    REAP(pid);
    R(close(fd));
    pass(go, 1);
    await(done, 1);
    FILE_IS("daemon");
    return 0;
}
