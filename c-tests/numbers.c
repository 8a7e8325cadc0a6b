/* Which descriptor numbers an open gets while Iris works beside the program, what its work keeps open, and which locks
 * it gives up: nothing of it may show. */
#include "common.h"

enum { FILES = 40 };

/* A file as small programs leave it behind: written a little and closed. */
static void leave_behind(int i)
{
    char name[16];
    snprintf(name, sizeof name, "f%d", i % FILES);
    int fd = open(P(name), O_CREAT | O_WRONLY | O_APPEND, 0644);
    for (int n = 0; n < 4; n++)
        if (fd < 0 || write(fd, "0123456789", 10) != 10)
            die("write");
    if (close(fd))
        die("close");
}

/* Every open gets the lowest free number, whatever is being taken home meanwhile. */
static void lowest(int rounds)
{
    int lowest = open("/dev/null", O_RDONLY), wrong = 0;
    close(lowest);
    make("read", 100, 1);
    for (int i = 0; i < rounds; i++) {
        for (int n = 0; n < FILES; n++)
            leave_behind(n);
        /* written through one descriptor, held open through another that can only read */
        int w = open(P("read"), O_WRONLY);
        int r = open(P("read"), O_RDONLY);
        wrong += w != lowest || r != lowest + 1;
        for (int n = 0; n < 4; n++)
            if (pwrite(w, "abc", 3, i % 90) != 3)
                die("pwrite");
        close(w);
        /* a new one, held open while its first bytes are taken home */
        int fresh = open(P("fresh"), O_CREAT | O_EXCL | O_WRONLY, 0644);
        wrong += fresh != lowest;
        for (int n = 0; n < 4; n++)
            if (pwrite(fresh, "abc", 3, n * 1000) != 3)
                die("pwrite");
        for (int n = 0; n < 1500; n++) {
            int fd = open("/dev/null", O_RDONLY);
            wrong += fd != lowest + 2;
            close(fd);
        }
        close(fresh);
        close(r);
        if (unlink(P("fresh")))
            die("unlink");
    }
    /* what is known of a removed file is cleared away */
    for (int i = 0; i < 8 * rounds; i++) {
        int gone = open(P("gone"), O_CREAT | O_EXCL | O_WRONLY, 0644);
        wrong += gone != lowest;
        for (int n = 0; n < 4; n++)
            if (pwrite(gone, "abc", 3, n * 1000) != 3)
                die("pwrite");
        if (unlink(P("gone")) || close(gone))
            die("unlink");
        for (int n = 0; n < 1000; n++) {
            int fd = open("/dev/null", O_RDONLY);
            wrong += fd != lowest;
            close(fd);
        }
    }
    say("%d opens got another number than the lowest\n", wrong);
    for (int i = 0; i < FILES; i++) {
        char name[16];
        snprintf(name, sizeof name, "f%d", i);
        FILE_IS(name);
    }
}

/* The end of a pipe is seen as soon as the program has closed it. */
static void ends_of_pipes(int rounds)
{
    int fd = F(open(P("piped"), O_CREAT | O_RDWR, 0644));
    for (int i = 0; i < rounds; i++) {
        int p[2];
        if (pipe(p) < 0)
            die("pipe");
        for (int n = 0; n < 4; n++)
            if (write(fd, "staged", 6) != 6)
                die("write");
        leave_behind(i);
        usleep(i * 100);
        close(p[1]);
        char c;
        if (read(p[0], &c, 1) != 0)
            say("a pipe did not end\n");
        close(p[0]);
    }
    CONTENT(fd);
    R(close(fd));
}

static void probe(const char *name)
{
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(P(name), O_RDWR);
        struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        int r = fcntl(fd, F_GETLK, &l);
        say("probe %d: %s\n", r, l.l_type == F_UNLCK ? "free" : l.l_type == F_RDLCK ? "read lock" : "write lock");
        _exit(0);
    }
    waitpid(pid, NULL, 0);
}

/* Record locks are given up by any close of the file in the process: but not by those that the program did not do. */
static void record_locks(void)
{
    struct gate wrote = gate(), again = gate();
    make("locked", 4096, 5);
    pid_t other = fork();
    if (other == 0) {
        int fd = open(P("locked"), O_RDWR);
        for (int round = 0; round < 3; round++) {
            await(again, 1);
            for (int n = 0; n < 4; n++)
                if (pwrite(fd, "by the other", 12, 4090 + 100 * round) != 12)
                    _exit(1);
            pass(wrote, 1);
        }
        await(again, 1);
        _exit(0);
    }
    int fd = F(open(P("locked"), O_RDONLY));
    struct flock l = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    R(fcntl(fd, F_SETLK, &l));
    probe("locked");
    pass(again, 1);
    await(wrote, 1);
    FSIZE(fd);
    probe("locked");
    pass(again, 1);
    await(wrote, 1);
    R(chmod(P("locked"), 0600));
    probe("locked");
    pass(again, 1);
    await(wrote, 1);
    R(rename(P("locked"), P("renamed")));
    probe("renamed");
    R(fsync(fd));
    probe("renamed");
    pass(again, 1);
    REAP(other);
    R(close(fd));
    FILE_IS("renamed");
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    lowest(8);
    ends_of_pipes(12);
    record_locks();
    return 0;
}
