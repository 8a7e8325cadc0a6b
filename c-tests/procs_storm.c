/* Many processes at once on one file. First in any order but one at a time, each read held against a model in shared
 * memory; then all together on stripes of their own; then readers beside a writer that only ever grows the file. */
#include "common.h"
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#define N 4
#define CAP (1 << 20)

static struct {
    pthread_mutex_t lock;
    size_t size;
    long bad, ops;
    char model[CAP];
} *m;

#define BAD(x)                                                                                                        \
    do {                                                                                                              \
        if (x) {                                                                                                      \
            if (__atomic_fetch_add(&m->bad, 1, __ATOMIC_RELAXED) < 3)                                                 \
                say("BAD line %d: %s (%s)\n", __LINE__, #x, ename(errno));                                            \
        }                                                                                                             \
    } while (0)

/* Whether mmap and fork are among the operations: they make a file leave the overlay, so first without. */
static int rare;

static int reopen(int fd, uint64_t r)
{
    if (fd >= 0)
        BAD(close(fd));
    fd = open(P("model"), O_RDWR | (r % 5 == 0 ? O_APPEND : 0));
    BAD(fd < 0);
    return fd;
}

static void put(size_t at, const char *b, size_t len)
{
    memcpy(m->model + at, b, len);
    if (at + len > m->size)
        m->size = at + len;
}

static void worker(int me, int rounds)
{
    static char b[CAP], got[CAP];
    int fd = reopen(-1, 0), appends = 1;
    uint64_t s = mix((uint64_t)me + 1);
    for (int r = 0; r < rounds; r++) {
        s = mix(s);
        size_t len = 1 + (s >> 8) % (s % 16 == 0 ? 80000 : s % 4 == 0 ? 5000 : 300);
        size_t at = (s >> 30) % (CAP / 2);
        pthread_mutex_lock(&m->lock);
        m->ops++;
        if (m->size + len >= CAP) {
            BAD(ftruncate(fd, 1000));
            m->size = 1000;
            memset(m->model + 1000, 0, CAP - 1000);
        }
        switch (s % 11) {
        case 0:
        case 1:
        case 2:
            fill(b, len, s);
            if (appends)
                at = m->size; /* Linux: pwrite on an O_APPEND descriptor appends */
            BAD(pwrite(fd, b, len, (off_t)at) != (ssize_t)len);
            put(at, b, len);
            break;
        case 3:
            fill(b, len, s);
            BAD(lseek(fd, 0, SEEK_END) != (off_t)m->size);
            BAD(write(fd, b, len) != (ssize_t)len);
            put(m->size, b, len);
            break;
        case 4:
        case 5:
        case 6: {
            ssize_t n = pread(fd, got, len, (off_t)at);
            ssize_t want = at >= m->size ? 0 : (ssize_t)(len < m->size - at ? len : m->size - at);
            BAD(n != want);
            BAD(n > 0 && memcmp(got, m->model + at, (size_t)n));
            break;
        }
        case 7:
            at = (s >> 30) % (m->size + 5000);
            BAD(ftruncate(fd, (off_t)at));
            if (at < m->size)
                memset(m->model + at, 0, m->size - at);
            m->size = at;
            break;
        case 8: {
            struct stat st;
            BAD(s % 2 ? fstat(fd, &st) : stat(P("model"), &st));
            BAD((size_t)st.st_size != m->size);
            break;
        }
        case 9:
            fd = reopen(fd, s >> 40);
            appends = (s >> 40) % 5 == 0;
            break;
        case 10:
            if (s % 3 == 0 || !rare)
                BAD(fsync(fd));
            else if (s % 3 == 1 && m->size) {
                char *p = mmap(NULL, m->size, PROT_READ, MAP_SHARED, fd, 0);
                BAD(p == MAP_FAILED || memcmp(p, m->model, m->size));
                if (p != MAP_FAILED)
                    munmap(p, m->size);
            } else {
                pid_t pid = fork();
                if (pid == 0) {
                    fill(b, 100, s);
                    _exit(pwrite(fd, b, 100, 77) != 100);
                }
                int st;
                waitpid(pid, &st, 0);
                BAD(st);
                fill(b, 100, s);
                put(appends ? m->size : 77, b, 100);
            }
            break;
        }
        pthread_mutex_unlock(&m->lock);
    }
    BAD(close(fd));
    exit(0);
}

static void stripes(int me)
{
    int fd = open(P("stripes"), O_RDWR);
    char b[600], got[600];
    for (int r = 0; r < 1500; r++) {
        uint64_t s = mix((uint64_t)(me * 10000 + r));
        size_t len = 1 + s % 500;
        off_t at = (off_t)((s >> 16) % 200) * N * 600 + me * 600;
        fill(b, len, s);
        BAD(pwrite(fd, b, len, at) != (ssize_t)len);
        BAD(pread(fd, got, len, at) != (ssize_t)len || memcmp(b, got, len));
        if (r % 300 == 299) {
            BAD(close(fd));
            fd = open(P("stripes"), O_RDWR);
        }
    }
    /* and at last the bytes that remain */
    for (int k = 0; k < 200; k++) {
        fill(b, 600, (uint64_t)(me * 1000 + k));
        BAD(pwrite(fd, b, 600, (off_t)k * N * 600 + me * 600) != 600);
    }
    BAD(close(fd));
    exit(0);
}

static void grows(int me)
{
    char b[64], want[64];
    if (me == 0) {
        int fd = open(P("grows"), O_WRONLY | O_APPEND);
        for (int r = 0; r < 6000; r++) {
            fill(b, 64, (uint64_t)r);
            BAD(write(fd, b, 64) != 64);
        }
        BAD(close(fd));
        exit(0);
    }
    int fd = open(P("grows"), O_RDONLY);
    for (int r = 0; r < 6000;) {
        ssize_t n = read(fd, b, 64);
        if (n == 0) {
            sched_yield();
            continue;
        }
        /* a record may come in two parts where the kernel itself gives it so, at the end of a page */
        while (n > 0 && n < 64) {
            ssize_t k = read(fd, b + n, (size_t)(64 - n));
            BAD(k < 0);
            n += k > 0 ? k : 0;
        }
        fill(want, 64, (uint64_t)r);
        BAD(n != 64 || memcmp(b, want, 64));
        r++;
    }
    BAD(read(fd, b, 64) != 0);
    exit(0);
}

static void all(const char *name, void (*f)(int))
{
    m->bad = 0;
    for (int i = 0; i < N; i++)
        if (fork() == 0)
            f(i);
    for (int i = 0; i < N; i++) {
        int st;
        wait(&st);
        if (st)
            say("%s: a process ended with %x\n", name, st);
    }
    say("%s: %ld bad\n", name, m->bad);
}
static void work(int me) { worker(me, 700); }

int main(int argc, char **argv)
{
    begin(argc, argv);
    m = mmap(NULL, sizeof *m, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&m->lock, &a);

    for (rare = 0; rare < 2; rare++) {
        make("model", 0, 0);
        m->size = 0;
        memset(m->model, 0, CAP);
        all(rare ? "with mmap and fork" : "one at a time", work);
        say("operations %ld\n", m->ops);
        int fd = open(P("model"), O_RDONLY);
        static char got[CAP];
        ssize_t n = read(fd, got, CAP);
        say("final %d %d\n", n == (ssize_t)m->size, n > 0 && !memcmp(got, m->model, (size_t)n));
        R(close(fd));
        R(unlink(P("model"))); /* which order it was is nobody's promise */
    }

    make("stripes", 0, 0);
    all("stripes", stripes);
    FILE_IS("stripes");
    make("grows", 0, 0);
    all("grows", grows);
    FILE_IS("grows");
    return 0;
}
