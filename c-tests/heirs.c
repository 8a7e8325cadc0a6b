/* Maps and descriptors that outlive the process which made them: its children go on with them when it has gone, while
 * others write the same file. argv[2]: where the helper programs lie. */
#include "common.h"
#include <spawn.h>
#include <sys/mman.h>
#include <sys/prctl.h>

extern char **environ;
static char *helpers;

/* A writer that opens the file for itself, and does as much as staging needs. */
static void others_write(const char *name, const char *text, off_t at)
{
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(P(name), O_RDWR);
        if (fd < 0 || pwrite(fd, text, strlen(text), at) != (ssize_t)strlen(text))
            _exit(1);
        _exit(0); /* with the descriptor open */
    }
    REAP(pid);
}

/* The same, but the writer goes on and keeps what it wrote staged until it is told to end. */
static pid_t keeper(const char *name, const char *text, off_t at, struct gate wrote, struct gate end)
{
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(P(name), O_RDWR);
        for (int i = 0; i < 3; i++)
            if (fd < 0 || pwrite(fd, text, strlen(text), at) != (ssize_t)strlen(text))
                _exit(1);
        pass(wrote, 1);
        await(end, 1);
        _exit(close(fd));
    }
    await(wrote, 1);
    return pid;
}

/* A map made by a process that has gone. */
static void map_outlives_its_maker(void)
{
    make("mapped", 8192, 1);
    struct gate made = gate(), look = gate(), looked = gate(), wrote = gate(), end = gate();
    pid_t maker = fork();
    if (maker == 0) {
        int fd = open(P("mapped"), O_RDWR);
        char *at = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (at == MAP_FAILED)
            _exit(1);
        close(fd);
        if (fork() == 0) {
            pass(made, 1);
            await(look, 1);
            say("the heir sees \"%.6s\"\n", at + 100);
            memcpy(at + 102, "HEIR", 4);
            pass(looked, 1);
            _exit(0);
        }
        _exit(0);
    }
    REAP(maker);
    await(made, 1);
    pid_t other = keeper("mapped", "others", 100, wrote, end);
    pass(look, 1);
    await(looked, 1);
    FILE_IS("mapped");
    pass(end, 1);
    REAP(other);
    FILE_IS("mapped");
    wait(NULL); /* the heir, which prctl has made ours */
}

/* A descriptor given to another program by a process that has gone: the helper writes it when told. */
static void descriptor_outlives_its_opener(const char *helper, int by_action)
{
    make("given", 1000, 2);
    struct gate go = gate(), wrote = gate(), end = gate();
    pid_t opener = fork();
    if (opener == 0) {
        int fd = open(P("given"), by_action ? O_RDWR | O_CLOEXEC : O_RDWR);
        int in = go.r;
        posix_spawn_file_actions_t a;
        posix_spawn_file_actions_init(&a);
        posix_spawn_file_actions_adddup2(&a, in, 0);
        if (by_action)
            posix_spawn_file_actions_adddup2(&a, fd, 60);
        char number[16];
        snprintf(number, sizeof number, "%d", by_action ? 60 : fd);
        char *argv[] = {(char *)helper, "late", number, NULL};
        pid_t child;
        _exit(posix_spawn(&child, helper, &a, NULL, argv, environ));
    }
    REAP(opener);
    pid_t other = keeper("given", "others", 10, wrote, end);
    pass(go, 1);
    wait(NULL); /* the helper */
    pass(end, 1);
    REAP(other);
    FILE_IS("given");
}

/* A descriptor that a program has from its parent, and hands on by forking. */
static void descriptor_in_the_third_generation(const char *helper)
{
    make("third", 1000, 3);
    struct gate go = gate(), wrote = gate(), end = gate();
    pid_t opener = fork();
    if (opener == 0) {
        dup2(go.r, 0);
        dup2(open(P("third"), O_RDWR), 61);
        execl(helper, helper, "forks", "61", (char *)NULL);
        _exit(1);
    }
    REAP(opener);
    pid_t other = keeper("third", "others", 10, wrote, end);
    pass(go, 1);
    wait(NULL); /* the grandchild */
    pass(end, 1);
    REAP(other);
    FILE_IS("third");
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    if (argc < 3)
        return 90;
    helpers = argv[2];
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    char dynamic[PATH_MAX], fixed[PATH_MAX];
    snprintf(dynamic, sizeof dynamic, "%s/exec_child", helpers);
    snprintf(fixed, sizeof fixed, "%s/exec_child-static", helpers);
    make("warm", 100, 9);
    others_write("warm", "x", 0);
    map_outlives_its_maker();
    descriptor_outlives_its_opener(dynamic, 0);
    descriptor_outlives_its_opener(dynamic, 1);
    descriptor_outlives_its_opener(fixed, 0);
    descriptor_outlives_its_opener(fixed, 1);
    descriptor_in_the_third_generation(dynamic);
    return 0;
}
