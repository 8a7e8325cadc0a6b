/* A number is given another file (dup2 over it, close) while other threads read and write through it: each call is about
 * one file, the one that the number meant before or the one after, and about all of it: its newest bytes, its offset. */
#include "common.h"
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

enum { T = 3, N = 700, FILE_LEN = 48 * 1024, RECORDS = 2000, OPS = 400, LARGE = 70000, LARGES = 4, LINE = 50, LINES = 700 };

static int bad, over;
static int a, b, outside;
static int seen[2][RECORDS];

#define BAD(x)                                                                                                        \
    do {                                                                                                              \
        if (x) {                                                                                                      \
            int e_ = errno;                                                                                           \
            if (__atomic_fetch_add(&bad, 1, __ATOMIC_RELAXED) < 3)                                                    \
                say("BAD line %d: %s (%s)\n", __LINE__, #x, ename(e_));                                               \
        }                                                                                                             \
    } while (0)

static int is_over(void) { return __atomic_load_n(&over, __ATOMIC_ACQUIRE); }

/* T threads do `work` until they are done, or until `replace` is, which runs in this one. */
static void during(const char *name, void (*replace)(void), void *(*work)(void *))
{
    pthread_t t[T];
    bad = over = 0;
    for (long i = 0; i < T; i++)
        if (pthread_create(&t[i], NULL, work, (void *)i))
            die("pthread_create");
    replace();
    __atomic_store_n(&over, 1, __ATOMIC_RELEASE);
    for (int i = 0; i < T; i++)
        pthread_join(t[i], NULL);
    say("%s: %d bad\n", name, bad);
}

/* A record of LINE bytes that begins with this. */
static const char *record_of(char *room, const char *kind, long who, const char *what, int i)
{
    memset(room, '.', LINE);
    int n = snprintf(room, LINE, "%s %ld %s %06d ", kind, who, what, i);
    room[n] = '.';
    room[LINE - 1] = '\n';
    return room;
}

static void write_all(int fd, const char *from, size_t len, off_t at)
{
    for (size_t done = 0; done < len; done += 600) {
        size_t piece = len - done < 600 ? len - done : 600;
        BAD(pwrite(fd, from + done, piece, at + (off_t)done) != (ssize_t)piece);
    }
}

/* A file that holds `letter` everywhere, over older bytes of which none may show. */
static void cover(int fd, char letter)
{
    static char bytes[FILE_LEN];
    memset(bytes, letter, sizeof bytes);
    write_all(fd, bytes, sizeof bytes, 0);
}
static int lettered(const char *name, char letter)
{
    int fd = F(open(P(name), O_RDWR | O_CREAT, 0644));
    cover(fd, 'X');
    BAD(fsync(fd));
    cover(fd, letter);
    return fd;
}

/* any of the files, and none at all: each read is of one */
static void *look(void *arg)
{
    char got[3000];
    unsigned x = 77 + (unsigned)(long)arg;
    while (!is_over()) {
        x = x * 1664525u + 1013904223u;
        size_t len = 1 + (x >> 8) % sizeof got;
        off_t at = (x >> 4) % (FILE_LEN - sizeof got);
        ssize_t n = pread(N, got, len, at);
        if (n == -1 && errno == EBADF)
            continue;
        BAD(n != (ssize_t)len);
        BAD(n > 0 && (got[0] != 'a' && got[0] != 'b' && got[0] != 'o'));
        for (ssize_t i = 1; i < n; i++)
            if (got[i] != got[0]) {
                BAD(1 && "bytes of two files");
                break;
            }
    }
    return NULL;
}
static void exchange_all(void)
{
    int all[] = {a, b, outside};
    for (int i = 0; i < 1500; i++) {
        BAD(dup2(all[i % 3], N) != N);
        if (i % 100 == 0)
            cover(a, 'a'), cover(b, 'b');
        if (i % 7 == 0)
            BAD(close(N));
    }
}

/* writes at places of their own: each is in one of the two files */
static char tag(long who, int i) { return (char)('A' + (who * 7 + i) % 26); }
static off_t place(long who, int i) { return (who * OPS + i) * 64; }
static off_t large_place(long who, int i) { return (1 << 20) + (who * LARGES + i) * LARGE; }
static int writers_left;
static void *put(void *arg)
{
    long me = (long)arg;
    char small[64];
    char *large = malloc(LARGE);
    for (int i = 0; i < OPS; i++) {
        memset(small, tag(me, i), sizeof small);
        BAD(pwrite(N, small, sizeof small, place(me, i)) != sizeof small);
        if (i % (OPS / LARGES) == 0) {
            int k = i / (OPS / LARGES);
            memset(large, tag(me, k), LARGE);
            BAD(pwrite(N, large, LARGE, large_place(me, k)) != LARGE);
        }
    }
    free(large);
    __atomic_fetch_sub(&writers_left, 1, __ATOMIC_ACQ_REL);
    return NULL;
}
static void exchange_two(void)
{
    for (int i = 0; __atomic_load_n(&writers_left, __ATOMIC_ACQUIRE) > 0; i++) {
        BAD(dup2(i % 2 ? a : b, N) != N);
        sched_yield();
    }
}
/* 1 if the record is in the file, 0 if nothing of it is */
static int holds(int fd, off_t at, size_t len, char letter)
{
    static char got[LARGE];
    memset(got, 0, len);
    ssize_t n = pread(fd, got, len, at);
    BAD(n < 0);
    if (n <= 0 || got[0] == 0) {
        for (ssize_t i = 0; i < n; i++)
            BAD(got[i] != 0);
        return 0;
    }
    BAD(n != (ssize_t)len);
    for (size_t i = 0; i < len; i++)
        if (got[i] != letter) {
            BAD(1 && "torn");
            break;
        }
    return 1;
}
static void each_in_one(void)
{
    bad = 0;
    for (long who = 0; who < T; who++)
        for (int i = 0; i < OPS; i++)
            BAD(holds(a, place(who, i), 64, tag(who, i)) + holds(b, place(who, i), 64, tag(who, i)) != 1);
    for (long who = 0; who < T; who++)
        for (int i = 0; i < LARGES; i++)
            BAD(holds(a, large_place(who, i), LARGE, tag(who, i)) + holds(b, large_place(who, i), LARGE, tag(who, i)) != 1);
    say("writes in one file each: %d bad\n", bad);
}

/* a log that is put aside while others append to it */
enum { LOGS = 12 };
static void *log_lines(void *arg)
{
    char line[LINE];
    for (int i = 0; i < LINES; i++)
        BAD(write(N, record_of(line, "thread", (long)arg, "line", i), LINE) != LINE);
    __atomic_fetch_sub(&writers_left, 1, __ATOMIC_ACQ_REL);
    return NULL;
}
static int open_log(int i)
{
    char name[20];
    snprintf(name, sizeof name, "log.%d", i);
    return open(P(name), O_RDWR | O_CREAT | O_APPEND, 0644);
}
static void rotate(void)
{
    for (int i = 1; i < LOGS; i++) {
        usleep(300);
        int fd = open_log(i);
        BAD(dup2(fd, N) != N);
        BAD(close(fd));
    }
}
static void count_lines(void)
{
    static int count[T][LINES];
    bad = 0;
    for (int i = 0; i < LOGS; i++) {
        int fd = open_log(i), t, k;
        char line[LINE + 1] = "";
        ssize_t n;
        while ((n = read(fd, line, LINE)) > 0) {
            BAD(n != LINE || line[LINE - 1] != '\n');
            if (sscanf(line, "thread %d line %d ", &t, &k) == 2 && t >= 0 && t < T && k >= 0 && k < LINES)
                count[t][k]++;
            else
                BAD(1 && "no line");
        }
        BAD(close(fd));
        char name[20];
        snprintf(name, sizeof name, "log.%d", i);
        BAD(unlink(P(name)));
    }
    for (int t = 0; t < T; t++)
        for (int k = 0; k < LINES; k++)
            BAD(count[t][k] != 1);
    say("lines: %d bad\n", bad);
}

/* records through the offset: each is read once */
static void note(const char *record)
{
    int file, i;
    if (sscanf(record, "file %d record %d", &file, &i) == 2 && file >= 0 && file < 2 && i >= 0 && i < RECORDS)
        __atomic_fetch_add(&seen[file][i], 1, __ATOMIC_RELAXED);
    else
        BAD(1 && "no record");
}
static void *take(void *arg)
{
    char record[LINE + 1] = "";
    (void)arg;
    while (!is_over()) {
        ssize_t n = read(N, record, LINE);
        BAD(n != LINE && n != 0);
        if (n == LINE)
            note(record);
    }
    return NULL;
}
static void exchange_readers(void)
{
    for (int i = 0; i < 1500; i++)
        BAD(dup2(i % 2 ? a : b, N) != N);
}
static void fill_records(int file, int fd)
{
    char record[LINE];
    for (int i = 0; i < RECORDS; i++)
        BAD(write(fd, record_of(record, "file", file, "record", i), LINE) != LINE);
}
static void take_rest(int fd)
{
    char record[LINE + 1] = "";
    while (read(fd, record, LINE) == LINE)
        note(record);
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    outside = memfd_create("outside", 0);
    a = lettered("a", 'a');
    b = lettered("b", 'b');
    cover(outside, 'o');
    R(dup2(a, N));
    during("reads", exchange_all, look);
    R(dup2(outside, N));
    CONTENT(a);
    CONTENT(b);
    R(close(a));
    R(close(b));

    a = F(open(P("wa"), O_RDWR | O_CREAT, 0644));
    b = F(open(P("wb"), O_RDWR | O_CREAT, 0644));
    R(dup2(a, N));
    writers_left = T;
    during("writes", exchange_two, put);
    each_in_one();
    R(close(a));
    R(close(b));
    R(close(N));
    R(unlink(P("wa")));
    R(unlink(P("wb")));

    a = open_log(0);
    R(dup2(a, N));
    R(close(a));
    during("log", rotate, log_lines);
    R(close(N));
    count_lines();

    a = F(open(P("ra"), O_RDWR | O_CREAT, 0644));
    b = F(open(P("rb"), O_RDWR | O_CREAT, 0644));
    fill_records(0, a);
    fill_records(1, b);
    R(lseek(a, 0, SEEK_SET));
    R(lseek(b, 0, SEEK_SET));
    R(dup2(a, N));
    during("records", exchange_readers, take);
    bad = 0;
    take_rest(a);
    take_rest(b);
    for (int i = 0; i < RECORDS; i++)
        BAD(seen[0][i] != 1 || seen[1][i] != 1);
    say("records read once: %d bad\n", bad);
    R(close(a));
    R(close(b));
    R(close(N));
    return 0;
}
