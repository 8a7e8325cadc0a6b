/* Threads: disjoint pwrite and pread on one descriptor, write() through one offset, open and close storms beside
 * other I/O, close while others read, stdio from many threads, fork while threads write. */
#include "common.h"
#include <pthread.h>

#define T 6
static int fd;
static pthread_barrier_t bar;
static int bad;
#define BAD(x)                                                                                                        \
    do {                                                                                                              \
        if (x) {                                                                                                      \
            __atomic_fetch_add(&bad, 1, __ATOMIC_RELAXED);                                                            \
            if (__atomic_load_n(&bad, __ATOMIC_RELAXED) <= 3)                                                         \
                say("BAD line %d: %s (%s)\n", __LINE__, #x, ename(errno));                                            \
        }                                                                                                             \
    } while (0)

static void run(const char *name, void *(*f)(void *))
{
    pthread_t t[T];
    bad = 0;
    for (long i = 0; i < T; i++)
        if (pthread_create(&t[i], NULL, f, (void *)i))
            die("pthread_create");
    for (int i = 0; i < T; i++)
        pthread_join(t[i], NULL);
    say("%s: %d bad\n", name, bad);
}

/* each thread owns every T-th block, writes it, and reads everybody's after the barrier */
static void *disjoint(void *a)
{
    long me = (long)a;
    char b[700], w[700];
    for (int r = 0; r < 6; r++) {
        for (long k = 0; k < 100; k++) {
            long slot = k * T + me;
            fill(b, 700, (uint64_t)(slot * 10 + r));
            BAD(pwrite(fd, b, 700, slot * 700) != 700);
            BAD(pread(fd, w, 700, slot * 700) != 700 || memcmp(b, w, 700));
        }
        pthread_barrier_wait(&bar);
        for (long slot = 0; slot < 100 * T; slot += 7) {
            fill(b, 700, (uint64_t)(slot * 10 + r));
            BAD(pread(fd, w, 700, slot * 700) != 700 || memcmp(b, w, 700));
        }
        pthread_barrier_wait(&bar);
    }
    return NULL;
}

/* records through the shared offset */
static void *sequential(void *a)
{
    char b[60];
    memset(b, 'a' + (int)(long)a, sizeof b);
    for (int i = 0; i < 500; i++)
        BAD(write(fd, b, sizeof b) != sizeof b);
    return NULL;
}
static void *vectored(void *a)
{
    char b[60];
    memset(b, 'a' + (int)(long)a, sizeof b);
    struct iovec v[3] = {{b, 10}, {b, 20}, {b, 30}};
    for (int i = 0; i < 200; i++)
        BAD(writev(fd, v, 3) != 60);
    return NULL;
}
static void *reader(void *a)
{
    (void)a;
    char b[60];
    ssize_t n;
    while ((n = read(fd, b, 60)) > 0) {
        BAD(n != 60);
        for (int i = 1; i < 60; i++)
            if (b[i] != b[0]) {
                BAD(1);
                break;
            }
        __atomic_fetch_add(&bad, 0, __ATOMIC_RELAXED);
    }
    return NULL;
}
static void count_records(void)
{
    int count[T] = {0}, torn = 0, n = 0;
    char b[60];
    lseek(fd, 0, SEEK_SET);
    while (read(fd, b, 60) == 60) {
        n++;
        for (int i = 1; i < 60; i++)
            if (b[i] != b[0]) {
                torn++;
                break;
            }
        if (b[0] >= 'a' && b[0] < 'a' + T)
            count[b[0] - 'a']++;
    }
    say("records %d torn %d:", n, torn);
    for (int i = 0; i < T; i++)
        say(" %d", count[i]);
    say("\n");
}

/* two threads keep a file under I/O, the others open, write, close and unlink other files all the time */
static void *storm(void *a)
{
    long me = (long)a;
    char b[300], w[300], name[32];
    if (me < 2) {
        for (int i = 0; i < 1500; i++) {
            fill(b, 300, (uint64_t)(me * 100000 + i));
            off_t at = me * 1000000 + (i % 500) * 300;
            BAD(pwrite(fd, b, 300, at) != 300);
            BAD(pread(fd, w, 300, at) != 300 || memcmp(b, w, 300));
        }
        return NULL;
    }
    for (int i = 0; i < 250; i++) {
        snprintf(name, sizeof name, "storm%ld", me);
        int f = open(P(name), O_CREAT | O_RDWR | O_TRUNC, 0644);
        BAD(f < 0);
        fill(b, 200, (uint64_t)(me * 7777 + i));
        BAD(write(f, b, 100) != 100);
        int d = dup(f);
        BAD(write(d, b + 100, 100) != 100);
        BAD(close(f) != 0);
        BAD(pread(d, w, 300, 0) != 200 || memcmp(b, w, 200));
        BAD(close(d) != 0);
        if (i % 5 == 0) {
            f = open(P(name), O_RDONLY);
            BAD(read(f, w, 300) != 200 || memcmp(b, w, 200));
            BAD(close(f));
        }
        if (i % 9 == 0)
            BAD(unlink(P(name)));
    }
    unlink(P(name));
    return NULL;
}

/* one closes and reopens the number, the others read it: data or EBADF, never anything else */
static int shared_fd;
static void *closer(void *a)
{
    char b[64];
    if ((long)a == 0) {
        for (int i = 0; i < 300; i++) {
            int f = open(P("closing"), O_RDONLY);
            BAD(dup2(f, shared_fd) != shared_fd);
            close(f);
            BAD(close(shared_fd) != 0);
        }
        BAD(dup2(fd, shared_fd) != shared_fd);
        return NULL;
    }
    for (int i = 0; i < 2000; i++) {
        ssize_t n = pread(shared_fd, b, 64, 0);
        if (n == 64) {
            for (int k = 1; k < 64; k++)
                if (b[k] != b[0]) {
                    BAD(1);
                    break;
                }
        } else
            BAD(n != -1 || errno != EBADF);
    }
    return NULL;
}

/* one stream, many threads: lines are whole */
static FILE *stream;
static void *printer(void *a)
{
    for (int i = 0; i < 400; i++)
        BAD(fprintf(stream, "thread %ld line %03d abcdefghijklmnopqrstuvwxyz\n", (long)a, i) < 0);
    return NULL;
}

/* appends by each thread's own descriptor, with reads of the growing file */
static void *appender(void *a)
{
    int f = open(P("append"), O_RDWR | O_CREAT | O_APPEND, 0644);
    char b[60];
    memset(b, 'a' + (int)(long)a, sizeof b);
    for (int i = 0; i < 200; i++) {
        BAD(write(f, b, 60) != 60);
        struct stat st;
        BAD(fstat(f, &st) || st.st_size < (i + 1) * 60);
    }
    BAD(close(f));
    return NULL;
}

/* truncates against writes: the size is always one that some order explains */
static void *cutter(void *a)
{
    char b[100];
    memset(b, 'k', 100);
    for (int i = 0; i < 300; i++)
        if ((long)a == 0)
            BAD(ftruncate(fd, 5000));
        else {
            BAD(pwrite(fd, b, 100, 4950 + (long)a * 100) != 100);
            struct stat st;
            BAD(fstat(fd, &st) || st.st_size < 5000 || st.st_size > 4950 + T * 100);
        }
    return NULL;
}

static void *busy(void *a)
{
    char b[100];
    fill(b, 100, (uint64_t)(long)a);
    for (int i = 0; i < 2000; i++)
        BAD(pwrite(fd, b, 100, (long)a * 100) != 100);
    return NULL;
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    pthread_barrier_init(&bar, NULL, T);
    fd = F(open(P("disjoint"), O_CREAT | O_RDWR, 0644));
    run("disjoint", disjoint);
    CONTENT(fd);
    R(close(fd));
    FILE_IS("disjoint");

    fd = F(open(P("seq"), O_CREAT | O_RDWR, 0644));
    run("sequential", sequential);
    R(lseek(fd, 0, SEEK_CUR));
    count_records();
    R(lseek(fd, 0, SEEK_SET));
    run("reader", reader);
    R(lseek(fd, 0, SEEK_CUR));
    R(ftruncate(fd, 0));
    R(lseek(fd, 0, SEEK_SET));
    run("vectored", vectored);
    count_records();
    R(close(fd));
    R(unlink(P("seq")));
    fd = F(open(P("aseq"), O_CREAT | O_RDWR | O_APPEND, 0644));
    run("append one fd", sequential);
    count_records();
    R(close(fd));
    R(unlink(P("aseq")));
    run("append own fds", appender);
    fd = F(open(P("append"), O_RDWR));
    count_records();
    R(close(fd));
    R(unlink(P("append")));

    fd = F(open(P("storm"), O_CREAT | O_RDWR, 0644));
    run("storm", storm);
    CONTENT(fd);
    R(close(fd));

    int f = F(open(P("closing"), O_CREAT | O_RDWR, 0644));
    char c[64];
    memset(c, 'c', 64);
    R(write(f, c, 64));
    fd = f;
    shared_fd = 700;
    run("closer", closer);
    R(close(700));
    R(close(f));

    stream = fopen(P("lines"), "w");
    run("printer", printer);
    V(fclose(stream));
    stream = fopen(P("lines"), "r");
    char *line = NULL;
    size_t cap = 0;
    int n = 0, odd = 0, seen[T] = {0};
    while (getline(&line, &cap, stream) > 0) {
        int t, i;
        n++;
        if (sscanf(line, "thread %d line %d abcdefghijklmnopqrstuvwxyz", &t, &i) != 2 || t < 0 || t >= T || seen[t]++ != i)
            odd++;
    }
    say("%d lines, %d odd\n", n, odd);
    V(fclose(stream));
    R(unlink(P("lines")));

    fd = F(open(P("cut"), O_CREAT | O_RDWR, 0644));
    R(ftruncate(fd, 5000));
    run("cutter", cutter);
    R(close(fd));
    R(unlink(P("cut")));

    /* fork while other threads write: the child may use its descriptors at once */
    fd = F(open(P("busy"), O_CREAT | O_RDWR, 0644));
    pthread_t t[3];
    bad = 0;
    for (long i = 0; i < 3; i++)
        pthread_create(&t[i], NULL, busy, (void *)i);
    for (int i = 0; i < 20; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            char name[20], b[10];
            snprintf(name, sizeof name, "child%d", i);
            int g = open(P(name), O_CREAT | O_RDWR, 0644);
            _exit(write(g, "child", 5) != 5 || pwrite(fd, "child", 5, 1000 + i * 5) != 5 || pread(g, b, 10, 0) != 5 ||
                  close(g));
        }
        int st;
        waitpid(pid, &st, 0);
        if (st)
            say("child %d: %x\n", i, st);
    }
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    say("busy: %d bad\n", bad);
    CONTENT(fd);
    R(close(fd));
    FILE_IS("child19");
    return 0;
}
