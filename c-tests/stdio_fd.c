/* stdio and descriptors together: fileno, fdopen on duplicates, freopen, flush of input, fork, tmpfile, locks. */
#include "common.h"
#include <sys/file.h>
#include <sys/socket.h>

static void where(int line, FILE *f)
{
    say("%d: ftell %ld fd %ld\n", line, ftell(f), (long)lseek(fileno(f), 0, SEEK_CUR));
}
#define WHERE(f) where(__LINE__, f)

int main(int argc, char **argv)
{
    begin(argc, argv);
    char b[20000];

    /* fwrite, then write on its descriptor, and back */
    FILE *f = fopen(P("mix"), "w+");
    fputs("stdio ", f);
    V(fflush(f));
    R(write(fileno(f), "raw ", 4));
    WHERE(f);
    fputs("stdio again ", f);
    V(fflush(f));
    R(lseek(fileno(f), 0, SEEK_SET));
    R(read(fileno(f), b, 10));
    say("%.10s\n", b);
    V(fseek(f, 0, SEEK_END));
    fputs("end", f);
    V(fflush(f));
    struct stat st;
    R(fstat(fileno(f), &st));
    say("size %ld\n", (long)st.st_size);
    R(ftruncate(fileno(f), 9));
    V(fseek(f, 0, SEEK_END));
    WHERE(f);
    fputs("+", f);
    V(fclose(f));
    FILE_IS("mix");

    /* reading: the descriptor runs ahead, fflush and fclose of input give it back */
    make("in", 15000, 1);
    f = fopen(P("in"), "r");
    int d = dup(fileno(f));
    V(fgetc(f));
    V(fread(b, 1, 99, f));
    V(fflush(f));
    R(lseek(d, 0, SEEK_CUR));
    V(fread(b, 1, 50, f));
    V(fclose(f));
    R(lseek(d, 0, SEEK_CUR));
    R(close(d));

    /* NumPy: duplicate, fdopen, write through the stream, close it, go on with the first */
    int fd = F(open(P("numpy"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "header", 6));
    d = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    f = fdopen(d, "w+");
    V(f != NULL);
    V(fseek(f, lseek(fd, 0, SEEK_CUR), SEEK_SET));
    double arr[1000];
    for (int i = 0; i < 1000; i++)
        arr[i] = i * 0.5;
    V(fwrite(arr, 8, 1000, f));
    long pos = ftell(f);
    V(pos);
    V(fflush(f));
    V(fclose(f));
    R(lseek(fd, 0, SEEK_CUR));
    R(lseek(fd, pos, SEEK_SET));
    R(write(fd, "trailer", 7));
    R(lseek(fd, 6, SEEK_SET));
    d = dup(fd);
    f = fdopen(d, "r");
    V(fread(b, 8, 10, f));
    V(memcmp(b, arr, 80));
    pos = ftell(f);
    V(pos);
    V(fclose(f));
    R(lseek(fd, pos, SEEK_SET));
    R(read(fd, b, 8));
    say("%g\n", *(double *)b);
    R(close(fd));
    FILE_IS("numpy");

    /* fdopen: modes against the descriptor's */
    fd = F(open(P("ro"), O_CREAT | O_RDONLY, 0644));
    V(fdopen(fd, "w") == NULL);
    f = fdopen(fd, "r");
    V(f != NULL);
    V(fileno(f) == fd);
    V(fclose(f));
    R(close(fd));
    V(fdopen(-1, "r") == NULL);
    V(fdopen(fd, "r") == NULL);
    fd = F(open(P("ap"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "0123456789", 10));
    R(lseek(fd, 2, SEEK_SET));
    f = fdopen(fd, "a+");
    R(fcntl(fd, F_GETFL) & O_APPEND ? 1 : 0);
    fputs("appended", f);
    V(fflush(f));
    WHERE(f);
    V(fseek(f, 8, SEEK_SET));
    V(fread(b, 1, 5, f));
    say("%.5s\n", b);
    V(fclose(f));
    FILE_IS("ap");
    fd = F(open(P("ap"), O_RDWR));
    R(lseek(fd, 4, SEEK_SET));
    f = fdopen(fd, "r+");
    V(fgetc(f));
    V(ftell(f));
    V(fclose(f));

    /* two streams on one description */
    fd = F(open(P("pair"), O_CREAT | O_RDWR, 0644));
    FILE *s1 = fdopen(dup(fd), "r+"), *s2 = fdopen(dup(fd), "r+");
    fputs("first ", s1);
    fflush(s1);
    fputs("second ", s2);
    fflush(s2);
    fputs("third", s1);
    V(fclose(s1));
    R(lseek(fd, 0, SEEK_CUR));
    V(fclose(s2));
    CONTENT(fd);
    R(close(fd));

    /* freopen: other file, other mode, the same file, stdout */
    f = fopen(P("fr1"), "w");
    int n1 = fileno(f);
    fputs("before freopen", f);
    FILE *g = freopen(P("fr2"), "w+", f);
    V(g == f);
    V(fileno(g) == n1);
    fputs("after freopen", g);
    rewind(g);
    V(fread(b, 1, 100, g));
    FILE_IS("fr1");
    g = freopen(P("fr1"), "a", g);
    V(g == f);
    fputs(", appended", g);
    V(fflush(g));
    FILE_IS("fr1");
    g = freopen(NULL, "r", g);
    V(g != NULL);
    if (g) {
        V(fgetc(g));
        V(fclose(g));
    }
    f = fopen(P("fr2"), "r");
    V(freopen(P("absent/x"), "r", f) == NULL);
    int saved = dup(1);
    fflush(stdout);
    V(freopen(P("stdout"), "w", stdout) == stdout);
    printf("printf into the mount\n");
    puts("puts too");
    V(fileno(stdout));
    V(fflush(stdout));
    dup2(saved, 1);
    FILE_IS("stdout");
    printf("printf after dup2 back\n");
    fflush(stdout);
    /* stderr and stdin */
    int saved2 = dup(2);
    V(freopen(P("stderr"), "a", stderr) == stderr);
    fprintf(stderr, "complaint %d\n", 1);
    errno = ENOENT;
    perror("as expected");
    dup2(saved2, 2);
    make("stdin", 0, 0);
    f = fopen(P("stdin"), "w");
    fputs("12 words\nsecond line\n", f);
    fclose(f);
    V(freopen(P("stdin"), "r", stdin) == stdin);
    int num;
    V(scanf("%d", &num));
    V(num);
    V(fgets(b, 100, stdin) != NULL);
    V(getchar());
    char *line = NULL;
    size_t cap = 0;
    V(getline(&line, &cap, stdin));
    V(getchar());
    FILE_IS("stderr");
    close(saved);
    close(saved2);

    /* dup2 a mounted file under a stream that stays */
    f = fopen(P("under1"), "w");
    fputs("to one ", f);
    fflush(f);
    fd = F(open(P("under2"), O_CREAT | O_WRONLY, 0644));
    R(dup2(fd, fileno(f)) == fileno(f));
    fputs("to two", f);
    V(fclose(f));
    R(close(fd));
    FILE_IS("under1");
    FILE_IS("under2");

    /* fork with bytes in the buffer: both flush them */
    f = fopen(P("forked"), "w");
    fputs("buffered ", f);
    pid_t pid = fork();
    if (pid == 0) {
        fputs("child ", f);
        V(fclose(f));
        _exit(0);
    }
    REAP(pid);
    fputs("parent ", f);
    V(fclose(f));
    FILE_IS("forked");
    f = fopen(P("forked"), "r");
    V(fgetc(f));
    pid = fork();
    if (pid == 0) {
        V(fgetc(f));
        V(fclose(f)); /* gives the unread part back to the shared offset */
        _exit(0);
    }
    REAP(pid);
    V(fgetc(f));
    WHERE(f);
    V(fclose(f));
    f = fopen(P("forked2"), "w");
    setvbuf(f, NULL, _IONBF, 0);
    for (int i = 0; i < 5; i++) {
        fprintf(f, "p%d ", i);
        pid = fork();
        if (pid == 0) {
            fprintf(f, "c%d ", i);
            _exit(0);
        }
        REAP(pid);
    }
    V(fclose(f));
    FILE_IS("forked2");

    /* tmpfile, mkstemp and its kin */
    f = tmpfile();
    V(f != NULL);
    fprintf(f, "temporary %d", 1);
    rewind(f);
    V(fscanf(f, "temporary %d", &num));
    V(fclose(f));
    strcpy(b, P("tmpXXXXXX"));
    fd = F(mkstemp(b));
    R(write(fd, "mkstemp", 7));
    CONTENT(fd);
    fstat(fd, &st);
    say("%o\n", st.st_mode);
    R(close(fd));
    R(rename(b, P("mkstemp")));
    strcpy(b, P("tmpXXXXXX.suf"));
    fd = F(mkostemps(b, 4, O_APPEND | O_CLOEXEC));
    R(write(fd, "mkostemps", 9));
    R(fcntl(fd, F_GETFL) & O_APPEND ? 1 : 0);
    R(close(fd));
    R(rename(b, P("mkostemps")));
    strcpy(b, P("dirXXXXXX"));
    V(mkdtemp(b) != NULL);
    R(rmdir(b));
    strcpy(b, P("badtemplate"));
    F(mkstemp(b));

    /* fopen of a file with staged bytes of a descriptor, and the reverse */
    fd = F(open(P("both"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "by descriptor", 13));
    f = fopen(P("both"), "r+");
    V(fread(b, 1, 100, f));
    V(fseek(f, 3, SEEK_SET));
    fputs("STREAM", f);
    CONTENT(fd);
    V(fflush(f));
    CONTENT(fd);
    R(pwrite(fd, "newest", 6, 0));
    rewind(f);
    V(fread(b, 1, 9, f));
    say("%.9s\n", b);
    V(fclose(f));
    R(close(fd));

    /* a stream on a socket and on a pipe stays what it was */
    int sv[2];
    R(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
    f = fdopen(sv[0], "r+");
    fputs("over a socket\n", f);
    fflush(f);
    R(read(sv[1], b, 100));
    R(write(sv[1], "back\n", 5));
    V(fgets(b, 100, f) != NULL);
    say("%s", b);
    V(fclose(f));

    /* locks, ftrylockfile, __fsetlocking are only bookkeeping; fileno of a closed thing is not ours */
    f = fopen(P("both"), "r");
    flockfile(f);
    V(ftrylockfile(f));
    V(getc_unlocked(f));
    funlockfile(f);
    funlockfile(f);
    R(flock(fileno(f), LOCK_EX | LOCK_NB));
    V(fclose(f));
    V(remove(P("both")));
    V(fopen(P("both"), "r") == NULL);
    return 0;
}
