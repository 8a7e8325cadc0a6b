/* One timed stretch of plain file I/O, open to close, and the check that its bytes are right. It knows nothing of
 * Iris: the same binary runs natively and preloaded.
 *   bench-io write|over|least|least-over|pages|log|log-over|log-pages|read|fill|verify|verify-over|forked FILE BLOCK COUNT
 *            seq|perm|repl
 *   bench-io many FOLDER BLOCK COUNT FILES
 *     write        COUNT writes of BLOCK bytes to a new file          over   the same on a file that fill made
 *     least        the least that takes the same writes in and leaves the same file: each copied once, to its place in
 *                  memory, and then the fewest and largest writes in order; what no write covers stays as it is.
 *                  least-over   the same for over.  pages   as least, by stores into a mapping of the file
 *     log          the least that also keeps what is written if the program is killed, in an order that others can follow:
 *                  each copied to the end of a log in shared memory, with a record, under one lock, and published by one
 *                  store; at the end sorted into windows, put together there, and written as by least.
 *                  log-over   the same for over.   log-pages   the same, home by stores into a mapping
 *     read         COUNT reads of BLOCK bytes, untimed second pass compares every byte
 *     forked       as write, through a descriptor that a child has had since a fork
 *     many         COUNT appends of BLOCK bytes, in turn to FILES files; prints as write, from the first open to the
 *                  last close
 *     fill         makes the file that over and read want             verify what a write run must have left
 *     seq in order; perm every block once in a random order; repl random blocks, some often and some never
 * write, over, least, pages, log, forked and read print the seconds from before open to after close. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { POOL = 1 << 22 };
static unsigned char *pool;
static size_t block, count;
static uint32_t *order;

static void die(const char *what) {
    fprintf(stderr, "bench-io: %s: %s\n", what, strerror(errno));
    exit(1);
}
static void wrong(const char *what, size_t at) {
    fprintf(stderr, "bench-io: %s in block %zu\n", what, at);
    exit(1);
}
static uint64_t next(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The bytes of write number n: a window of the pool that differs from one write to the next. */
static const unsigned char *bytes_of(size_t n) { return pool + n * 8209 % (POOL - block); }

static void choose(const char *how) {
    uint64_t state = 88172645463325252u;
    order = malloc(count * sizeof *order);
    if (!order) die("malloc");
    for (size_t i = 0; i < count; i++) order[i] = (uint32_t)i;
    if (!strcmp(how, "perm"))
        for (size_t i = count; i > 1; i--) {
            size_t j = next(&state) % i;
            uint32_t t = order[i - 1];
            order[i - 1] = order[j];
            order[j] = t;
        }
    else if (!strcmp(how, "repl"))
        for (size_t i = 0; i < count; i++) order[i] = (uint32_t)(next(&state) % count);
    else if (strcmp(how, "seq"))
        die("the order is seq, perm or repl");
}

static double write_blocks(const char *name, int flags, int seek, size_t shift, int forks) {
    double from = now();
    int fd = open(name, flags, 0644);
    if (fd < 0) die(name);
    if (forks) {
        pid_t child = fork();
        if (child < 0) die("fork");
        if (!child) _exit(0);
        if (waitpid(child, NULL, 0) != child) die("waitpid");
        from = now();
    }
    for (size_t i = 0; i < count; i++) {
        ssize_t n = seek ? pwrite(fd, bytes_of(i + shift), block, (off_t)order[i] * (off_t)block)
                         : write(fd, bytes_of(i + shift), block);
        if (n != (ssize_t)block) die("write");
    }
    if (close(fd)) die("close");
    return now() - from;
}

static double write_many(const char *folder, size_t files) {
    char name[4096];
    int *fds = malloc(files * sizeof *fds);
    if (!fds) die("malloc");
    double from = now();
    for (size_t f = 0; f < files; f++) {
        snprintf(name, sizeof name, "%s/many-%zu", folder, f);
        fds[f] = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0644);
        if (fds[f] < 0) die(name);
    }
    for (size_t i = 0; i < count; i++)
        if (write(fds[i % files], bytes_of(i), block) != (ssize_t)block) die("write");
    for (size_t f = 0; f < files; f++)
        if (close(fds[f])) die("close");
    double took = now() - from;
    unsigned char *got = malloc(block);
    if (!got) die("malloc");
    for (size_t f = 0; f < files; f++) {
        snprintf(name, sizeof name, "%s/many-%zu", folder, f);
        int fd = open(name, O_RDONLY);
        for (size_t i = f; i < count; i += files)
            if (read(fd, got, block) != (ssize_t)block || memcmp(got, bytes_of(i), block)) wrong("wrong bytes", i);
        if (read(fd, got, 1) != 0) wrong("the file is too long", f);
        if (close(fd) || unlink(name)) die(name);
    }
    free(got);
    free(fds);
    return took;
}

/* The least that a program can do which takes each write in, in memory that others share and that is there already, and
 * lets the newest win: a copy to where it belongs, and a note that it is there. Then runs of these, in writes of a MiB or
 * through pages. */
static double write_least(const char *name, int flags, int pages) {
    enum { LARGEST = 1 << 20 };
    unsigned char *map = NULL, *set = malloc(count);
    unsigned char *image = mmap(NULL, count * block, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (image == MAP_FAILED || !set) die("memory");
    memset(set, 0, count);
    size_t blocks = 0;
    double from = now();
    int fd = open(name, flags, 0644);
    if (fd < 0) die(name);
    for (size_t i = 0; i < count; i++) {
        memcpy(image + order[i] * block, bytes_of(i), block);
        set[order[i]] = 1;
        if (order[i] >= blocks) blocks = order[i] + 1;
    }
    if (pages) {
        if (ftruncate(fd, (off_t)(blocks * block))) die("ftruncate");
        map = mmap(NULL, blocks * block, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED) die("mmap");
    }
    for (size_t i = 0; i < blocks; i++) {
        size_t first = i;
        while (i < blocks && set[i]) i++;
        for (size_t at = first * block; at < i * block;) {
            size_t n = i * block - at < LARGEST ? i * block - at : LARGEST;
            if (pages)
                memcpy(map + at, image + at, n);
            else if (pwrite(fd, image + at, n, (off_t)at) != (ssize_t)n)
                die("write");
            at += n;
        }
    }
    if (pages && munmap(map, blocks * block)) die("munmap");
    if (close(fd)) die("close");
    double took = now() - from;
    munmap(image, count * block);
    free(set);
    return took;
}

/* A record of the log. */
struct record {
    uint64_t offset, at;
    uint64_t len;
};

static double write_log(const char *name, int flags, int pages) {
    enum { WINDOW = 1 << 20, AHEAD = 16 };
    size_t span = count * block, windows = span / WINDOW + 1;
    struct {
        _Atomic int lock;
        _Atomic size_t published;
    } *head;
    size_t bytes = 4096 + span + count * sizeof(struct record) + count * sizeof(uint32_t) + 2 * WINDOW + windows * 4;
    unsigned char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) die("memory");
    head = (void *)memory;
    unsigned char *payload = memory + 4096, *window = payload + span, *set = window + WINDOW, *map = NULL;
    struct record *records = (void *)(set + WINDOW);
    uint32_t *sorted = (void *)(records + count), *ends = sorted + count;
    size_t used = 0, blocks = 0;
    double from = now();
    int fd = open(name, flags, 0644);
    if (fd < 0) die(name);
    for (size_t i = 0; i < count; i++) {
        const unsigned char *bytes_now = bytes_of(i);
        __builtin_prefetch(bytes_of(i + 4));
        while (atomic_exchange_explicit(&head->lock, 1, memory_order_acquire)) continue;
        memcpy(payload + used, bytes_now, block);
        records[i] = (struct record){(uint64_t)order[i] * block, used, block};
        used += block;
        atomic_store_explicit(&head->published, i + 1, memory_order_release);
        atomic_store_explicit(&head->lock, 0, memory_order_release);
        if (order[i] >= blocks) blocks = order[i] + 1;
    }
    for (size_t i = 0; i < count; i++) ends[records[i].offset / WINDOW + 1]++;
    for (size_t w = 1; w <= windows - 1; w++) ends[w] += ends[w - 1];
    for (size_t i = 0; i < count; i++) sorted[ends[records[i].offset / WINDOW]++] = (uint32_t)i;
    if (pages) {
        if (ftruncate(fd, (off_t)(blocks * block))) die("ftruncate");
        map = mmap(NULL, blocks * block, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED) die("mmap");
    }
    size_t each = WINDOW / block;
    for (size_t w = 0, first = 0; w < windows - 1; first = ends[w++]) {
        memset(set, 0, each);
        for (size_t i = first; i < ends[w]; i++) {
            if (i + AHEAD < count) __builtin_prefetch(payload + records[sorted[i + AHEAD]].at);
            const struct record *r = &records[sorted[i]];
            memcpy(window + r->offset % WINDOW, payload + r->at, block);
            set[r->offset % WINDOW / block] = 1;
        }
        for (size_t i = 0; i < each; i++) {
            size_t run = i;
            while (i < each && set[i]) i++;
            if (run == i) continue;
            size_t at = w * WINDOW + run * block, n = (i - run) * block;
            if (pages)
                memcpy(map + at, window + run * block, n);
            else if (pwrite(fd, window + run * block, n, (off_t)at) != (ssize_t)n)
                die("write");
        }
    }
    if (pages && munmap(map, blocks * block)) die("munmap");
    if (close(fd)) die("close");
    double took = now() - from;
    munmap(memory, bytes);
    return took;
}

static double read_blocks(const char *name, int seek, int compare) {
    /* A page's start: where the heap happens to put a buffer changes the kernel's copy by a tenth. */
    unsigned char *into = aligned_alloc(4096, (block + 4095) / 4096 * 4096);
    if (!into) die("aligned_alloc");
    memset(into, 0, block);
    double from = now();
    int fd = open(name, O_RDONLY);
    if (fd < 0) die(name);
    for (size_t i = 0; i < count; i++) {
        ssize_t n = seek ? pread(fd, into, block, (off_t)order[i] * (off_t)block) : read(fd, into, block);
        if (n != (ssize_t)block) die("read");
        if (compare && memcmp(into, bytes_of(order[i] + count), block)) wrong("wrong bytes were read", order[i]);
    }
    if (close(fd)) die("close");
    double took = now() - from;
    free(into);
    return took;
}

static void verify(const char *name, int over) {
    size_t *last = malloc(count * sizeof *last), highest = 0;
    unsigned char *got = malloc(block), *hole = calloc(1, block);
    if (!last || !got || !hole) die("malloc");
    for (size_t i = 0; i < count; i++) last[i] = over ? i + count : SIZE_MAX;
    for (size_t i = 0; i < count; i++) {
        last[order[i]] = i;
        if (order[i] > highest) highest = order[i];
    }
    if (over) highest = count - 1;
    int fd = open(name, O_RDONLY);
    if (fd < 0) die(name);
    struct stat st;
    if (fstat(fd, &st)) die("fstat");
    if ((size_t)st.st_size != (highest + 1) * block) wrong("the file has the wrong size", highest);
    for (size_t i = 0; i <= highest; i++) {
        if (pread(fd, got, block, (off_t)i * (off_t)block) != (ssize_t)block) die("read");
        if (memcmp(got, last[i] == SIZE_MAX ? hole : bytes_of(last[i]), block)) wrong("wrong bytes", i);
    }
    close(fd);
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: bench-io write|over|least|least-over|pages|log|log-over|log-pages|read|fill|verify|verify-over|forked FILE BLOCK COUNT seq|perm|repl\n"
                        "       bench-io many FOLDER BLOCK COUNT FILES\n");
        return 2;
    }
    const char *what = argv[1], *name = argv[2], *how = argv[5];
    block = strtoul(argv[3], NULL, 10);
    count = strtoul(argv[4], NULL, 10);
    if (!block || block > POOL / 2 || !count || count > UINT32_MAX) die("BLOCK or COUNT is out of range");
    pool = malloc(POOL);
    if (!pool) die("malloc");
    uint64_t state = 0x2545f4914f6cdd1du;
    for (size_t i = 0; i < POOL; i += 8) {
        uint64_t r = next(&state);
        memcpy(pool + i, &r, 8);
    }
    if (!strcmp(what, "many")) {
        size_t files = strtoul(how, NULL, 10);
        if (!files) die("FILES is out of range");
        printf("%.9f\n", write_many(name, files));
        return 0;
    }
    choose(how);
    int seek = strcmp(how, "seq") != 0;
    if (!strcmp(what, "write")) {
        if (unlink(name) && errno != ENOENT) die(name);
        printf("%.9f\n", write_blocks(name, O_WRONLY | O_CREAT | O_TRUNC, seek, 0, 0));
    } else if (!strcmp(what, "over")) {
        printf("%.9f\n", write_blocks(name, O_WRONLY, seek, 0, 0));
    } else if (!strcmp(what, "forked")) {
        if (unlink(name) && errno != ENOENT) die(name);
        printf("%.9f\n", write_blocks(name, O_WRONLY | O_CREAT | O_TRUNC, seek, 0, 1));
    } else if (!strcmp(what, "least") || !strcmp(what, "pages")) {
        if (unlink(name) && errno != ENOENT) die(name);
        printf("%.9f\n", write_least(name, O_RDWR | O_CREAT | O_TRUNC, !strcmp(what, "pages")));
    } else if (!strcmp(what, "least-over")) {
        printf("%.9f\n", write_least(name, O_WRONLY, 0));
    } else if (!strcmp(what, "log") || !strcmp(what, "log-pages")) {
        if (unlink(name) && errno != ENOENT) die(name);
        printf("%.9f\n", write_log(name, O_RDWR | O_CREAT | O_TRUNC, !strcmp(what, "log-pages")));
    } else if (!strcmp(what, "log-over")) {
        printf("%.9f\n", write_log(name, O_WRONLY, 0));
    } else if (!strcmp(what, "fill")) {
        write_blocks(name, O_WRONLY | O_CREAT | O_TRUNC, 0, count, 0);
    } else if (!strcmp(what, "read")) {
        double took = read_blocks(name, seek, 0);
        read_blocks(name, seek, 1);
        printf("%.9f\n", took);
    } else if (!strcmp(what, "verify")) {
        verify(name, 0);
    } else if (!strcmp(what, "verify-over")) {
        verify(name, 1);
    } else {
        die("what?");
    }
    return 0;
}
