/* Replays a recorded trace of I/O, each rank on a file of its own, and checks every byte. It knows nothing of Iris.
 *   replay prepare|run|check|verify TRACE DIR RANKS posix|stdio
 *     prepare  makes the files as large as the trace reads          run     the timed replay; prints the seconds
 *     check    a replay that compares each read with what must be there
 *     verify   compares the files with what the trace must have left
 * A trace has lines OP,OFFSET,SIZE: FOPEN, FCLOSE, READ and WRITE at OFFSET, LSEEK from OFFSET to SIZE. A READ or
 * WRITE that is not where the last one ended seeks first, as the program must have done. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { POOL = 1 << 24, CHUNK = 1 << 20 };
enum kind { OPEN, CLOSE, SEEK, READ, WRITE };
struct op {
    enum kind kind;
    uint64_t offset, size;
};
static struct op *ops;
static size_t count;
static uint64_t filled, end; /* bytes that must be there before; the largest offset touched */
static unsigned char *pool, *shadow;

static void die(const char *what) {
    fprintf(stderr, "replay: %s: %s\n", what, errno ? strerror(errno) : "not as it should be");
    exit(1);
}

static void load(const char *name) {
    static const char *names[] = {"FOPEN", "FCLOSE", "LSEEK", "READ", "WRITE"};
    char line[128];
    FILE *f = fopen(name, "r");
    if (!f) die(name);
    for (size_t room = 0; fgets(line, sizeof line, f); count++) {
        if (count == room) ops = realloc(ops, (room = room * 2 + 1024) * sizeof *ops);
        if (!ops) die("realloc");
        char op[16];
        unsigned long long offset, size;
        if (sscanf(line, "%15[A-Z],%llu,%llu", op, &offset, &size) != 3) die(line);
        int k = 0;
        while (k < 5 && strcmp(op, names[k])) k++;
        if (k == 5) die(line);
        ops[count] = (struct op){(enum kind)k, offset, size};
        if ((k == READ || k == WRITE) && size >= POOL / 2) die("an operation is too large");
        if (k == READ && offset + size > filled) filled = offset + size;
        if ((k == READ || k == WRITE) && offset + size > end) end = offset + size;
    }
    fclose(f);
    if (!count) die("the trace is empty");
}

static const unsigned char *written(size_t n) { return pool + n * 8209 % (POOL - ops[n].size); }
static const unsigned char *base(uint64_t chunk) { return pool + (chunk * 9973 + 17) % (POOL - CHUNK); }

static void file_name(char *to, size_t room, const char *dir, int rank) { snprintf(to, room, "%s/rank-%d.dat", dir, rank); }

static void fill_shadow(void) {
    shadow = mmap(NULL, end + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (shadow == MAP_FAILED) die("mmap");
    for (uint64_t at = 0; at < filled; at += CHUNK)
        memcpy(shadow + at, base(at / CHUNK), filled - at < CHUNK ? filled - at : CHUNK);
}

static void prepare(const char *name) {
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0) die(name);
    for (uint64_t at = 0; at < filled; at += CHUNK) {
        size_t n = filled - at < CHUNK ? filled - at : CHUNK;
        if (write(fd, base(at / CHUNK), n) != (ssize_t)n) die("write");
    }
    if (close(fd)) die("close");
}

static void compare(size_t n, const unsigned char *got) {
    if (memcmp(got, shadow + ops[n].offset, ops[n].size)) {
        fprintf(stderr, "replay: line %zu read wrong bytes at %llu\n", n + 1, (unsigned long long)ops[n].offset);
        exit(1);
    }
}

static void replay_posix(const char *name, int checking) {
    unsigned char *into = malloc(POOL);
    uint64_t at = 0;
    int fd = -1;
    if (!into) die("malloc");
    for (size_t i = 0; i < count; i++) {
        struct op *o = &ops[i];
        if (fd < 0 || o->kind == OPEN) {
            if (fd >= 0 && close(fd)) die("close");
            if ((fd = open(name, O_RDWR | O_CREAT, 0644)) < 0) die(name);
            at = 0;
            if (o->kind == OPEN) continue;
        }
        uint64_t to = o->kind == SEEK ? o->size : o->offset;
        if (o->kind != CLOSE && to != at && lseek(fd, (off_t)(at = to), SEEK_SET) != (off_t)to) die("lseek");
        if (o->kind == READ && read(fd, into, o->size) != (ssize_t)o->size) die("read");
        if (o->kind == READ && checking) compare(i, into);
        if (o->kind == WRITE && write(fd, written(i), o->size) != (ssize_t)o->size) die("write");
        if (o->kind == WRITE && checking) memcpy(shadow + o->offset, written(i), o->size);
        if (o->kind == READ || o->kind == WRITE) at += o->size;
        if (o->kind == CLOSE) {
            if (close(fd)) die("close");
            fd = -1;
        }
    }
    if (fd >= 0 && close(fd)) die("close");
}

static void replay_stdio(const char *name, int checking) {
    unsigned char *into = malloc(POOL);
    uint64_t at = 0;
    FILE *f = NULL;
    enum kind last = OPEN;
    if (!into) die("malloc");
    for (size_t i = 0; i < count; i++) {
        struct op *o = &ops[i];
        if (!f || o->kind == OPEN) {
            if (f && fclose(f)) die("fclose");
            if (!(f = fopen(name, "r+")) && !(f = fopen(name, "w+"))) die(name);
            at = 0;
            last = OPEN;
            if (o->kind == OPEN) continue;
        }
        uint64_t to = o->kind == SEEK ? o->size : o->offset;
        /* C wants a seek between reading and writing. */
        int turn = (last == READ && o->kind == WRITE) || (last == WRITE && o->kind == READ);
        if (o->kind != CLOSE && (to != at || turn) && fseeko(f, (off_t)(at = to), SEEK_SET)) die("fseeko");
        if (o->kind == READ && fread(into, 1, o->size, f) != o->size) die("fread");
        if (o->kind == READ && checking) compare(i, into);
        if (o->kind == WRITE && fwrite(written(i), 1, o->size, f) != o->size) die("fwrite");
        if (o->kind == WRITE && checking) memcpy(shadow + o->offset, written(i), o->size);
        if (o->kind == READ || o->kind == WRITE) at += o->size;
        if (o->kind != SEEK) last = o->kind;
        if (o->kind == CLOSE) {
            if (fclose(f)) die("fclose");
            f = NULL;
        }
    }
    if (f && fclose(f)) die("fclose");
}

static void verify(const char *name) {
    unsigned char *got = malloc(CHUNK);
    struct stat st;
    uint64_t size = filled;
    if (!got) die("malloc");
    for (size_t i = 0; i < count; i++)
        if (ops[i].kind == WRITE) {
            memcpy(shadow + ops[i].offset, written(i), ops[i].size);
            if (ops[i].offset + ops[i].size > size) size = ops[i].offset + ops[i].size;
        }
    int fd = open(name, O_RDONLY);
    if (fd < 0 || fstat(fd, &st)) die(name);
    errno = 0;
    if ((uint64_t)st.st_size != size) die("the size");
    for (uint64_t at = 0; at < size; at += CHUNK) {
        size_t n = size - at < CHUNK ? size - at : CHUNK;
        if (pread(fd, got, n, (off_t)at) != (ssize_t)n) die("read");
        errno = 0;
        if (memcmp(got, shadow + at, n)) die("the content");
    }
    close(fd);
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: replay prepare|run|check|verify TRACE DIR RANKS posix|stdio\n");
        return 2;
    }
    const char *what = argv[1];
    int ranks = atoi(argv[4]), bad = 0, stdio = !strcmp(argv[5], "stdio");
    int checking = !strcmp(what, "check");
    pool = malloc(POOL);
    if (!pool || ranks < 1) die("malloc");
    uint64_t r = 0x2545f4914f6cdd1du;
    for (size_t i = 0; i < POOL; i += 8) {
        r ^= r << 13, r ^= r >> 7, r ^= r << 17;
        memcpy(pool + i, &r, 8);
    }
    load(argv[2]);
    if (checking || !strcmp(what, "verify")) fill_shadow();
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (int i = 0; i < ranks; i++) {
        pid_t pid = ranks == 1 ? 0 : fork();
        if (pid < 0) die("fork");
        if (pid > 0) continue;
        char name[4096];
        file_name(name, sizeof name, argv[3], i);
        if (!strcmp(what, "prepare")) prepare(name);
        else if (!strcmp(what, "verify")) verify(name);
        else if (!strcmp(what, "run") || checking) stdio ? replay_stdio(name, checking) : replay_posix(name, checking);
        else die(what);
        if (ranks > 1) exit(0);
    }
    for (int i = 0, status; ranks > 1 && i < ranks; i++) {
        if (wait(&status) < 0 || status) bad = 1;
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    if (!strcmp(what, "run")) printf("%.9f\n", (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9);
    return bad;
}
