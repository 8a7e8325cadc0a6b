/* What a new program image does with descriptors it inherits. Built twice: dynamic, and static (out of reach of
 * any preload). Arguments: a command, then descriptor numbers. */
#include "common.h"

int main(int argc, char **argv)
{
    if (argc < 3)
        return 90;
    const char *what = argv[1];
    int fd = atoi(argv[2]);
    char b[200];
    if (!strcmp(what, "write")) {
        R(lseek(fd, 0, SEEK_CUR));
        R(write(fd, "by the child ", 13));
        R(lseek(fd, 0, SEEK_CUR));
    } else if (!strcmp(what, "read")) {
        R(lseek(fd, 0, SEEK_CUR));
        ssize_t n = R(read(fd, b, sizeof b));
        say("child got \"%.*s\"\n", (int)(n > 0 ? n : 0), b);
    } else if (!strcmp(what, "both")) {
        struct stat st;
        R(fstat(fd, &st));
        say("child sees size %ld\n", (long)st.st_size);
        ssize_t n = R(pread(fd, b, sizeof b, 0));
        say("child got \"%.*s\"\n", (int)(n > 0 ? n : 0), b);
        R(pwrite(fd, "CHILD", 5, 2));
        char *big = fill(grab(100000), 100000, 42);
        R(pwrite(fd, big, 100000, 500));
        R(lseek(fd, 3, SEEK_SET));
    } else if (!strcmp(what, "closed")) {
        R(fcntl(fd, F_GETFD));
        R(write(fd, "x", 1));
    } else if (!strcmp(what, "path")) {
        D = argv[2];
        FILE_IS("e");
        int f = F(open(P("e"), O_RDWR | O_APPEND));
        R(write(f, "opened by the child ", 20));
        R(close(f));
        make("made-by-child", 3000, 9);
    } else if (!strcmp(what, "std")) {
        /* 0 is a file to read, 1 and 2 are files to write */
        int c, n = 0;
        while ((c = getchar()) != EOF)
            n++;
        printf("%d bytes of input\n", n);
        fflush(stdout);
        fprintf(stderr, "a complaint\n");
        printf("flushed by exit\n");
        return 3;
    } else if (!strcmp(what, "late") || !strcmp(what, "forks")) {
        /* writes when it is told to, long after whoever opened the file has gone; "forks": in a child of its own */
        if (*what == 'f' && fork() > 0)
            return 0;
        if (read(0, b, 1) != 1)
            return 1;
        R(pwrite(fd, "LATE", 4, 12));
    } else if (!strcmp(what, "env")) {
        say("X=%s\n", getenv("X") ? getenv("X") : "(unset)");
        say("HOME=%s\n", getenv("HOME") ? getenv("HOME") : "(unset)");
        R(write(fd, "env child ", 10));
    }
    return 5;
}
