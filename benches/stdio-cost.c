/* One pattern of stream I/O, timed. It knows nothing of Iris: the same binary runs natively and preloaded.
 *   stdio-cost make|PATTERN FILE BYTES
 * make makes FILE of BYTES bytes; a pattern prints the seconds of one step, opens and closes included:
 *   open      fopen, an fread of 64 bytes, fclose
 *   near      fseek by up to 2 KiB to either side, fread of 64 bytes
 *   far       fseek to anywhere, fread of 64 bytes
 *   update    the same with an fwrite (r+)
 *   change    the same with an fread, an fseek back and an fwrite (r+)
 *   print     fprintf of a line to a new file
 *   scan      fgets of a line */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void die(const char *what) {
    fprintf(stderr, "stdio-cost: %s: %s\n", what, strerror(errno));
    exit(1);
}
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}
static uint64_t state = 88172645463325252u;
static uint64_t next(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}
static FILE *need(const char *name, const char *mode) {
    FILE *f = fopen(name, mode);
    if (!f) die(name);
    return f;
}
static void seek(FILE *f, long to) {
    if (fseek(f, to, SEEK_SET)) die("fseek");
}

static const char line[] = "a line of some length, as a program prints it, sixty-four bytes\n";
enum { PIECE = 64, OPENS = 3000, STEPS = 50000, LINES = 300000 };

static void make(const char *name, long size) {
    FILE *f = need(name, "w");
    for (long i = 0; i < size / PIECE; i++)
        if (fwrite(line, PIECE, 1, f) != 1) die("fwrite");
    if (fclose(f)) die("fclose");
}
static int opens(const char *name) {
    char piece[PIECE];
    for (int i = 0; i < OPENS; i++) {
        FILE *f = need(name, "r");
        if (fread(piece, PIECE, 1, f) != 1) die("fread");
        if (fclose(f)) die("fclose");
    }
    return OPENS;
}
/* Reads, writes or both, at places `span` bytes apart at most (0: anywhere). */
static int steps(const char *name, long size, long span, int reads, int writes) {
    char piece[PIECE];
    memcpy(piece, line, PIECE);
    FILE *f = need(name, writes ? "r+" : "r");
    long at = size / 2;
    for (int i = 0; i < STEPS; i++) {
        at = span ? at + (long)(next() % (uint64_t)span) - span / 2 : (long)(next() % (uint64_t)(size - PIECE));
        if (at < 0 || at > size - PIECE) at = size / 2;
        seek(f, at);
        if (reads && fread(piece, PIECE, 1, f) != 1) die("fread");
        if (reads && writes) seek(f, at);
        if (writes && fwrite(piece, PIECE, 1, f) != 1) die("fwrite");
    }
    if (fclose(f)) die("fclose");
    return STEPS;
}
static int print(const char *name) {
    FILE *f = need(name, "w");
    for (int i = 0; i < LINES; i++)
        if (fprintf(f, "%d %s\n", i, "a line of some length") < 0) die("fprintf");
    if (fclose(f)) die("fclose");
    return LINES;
}
static int scan(const char *name, long size) {
    char piece[2 * PIECE];
    FILE *f = need(name, "r");
    int n = 0;
    while (fgets(piece, sizeof piece, f)) n++;
    if (n != size / PIECE) die("fgets");
    if (fclose(f)) die("fclose");
    return n;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: stdio-cost make|open|near|far|update|change|print|scan FILE BYTES\n");
        return 2;
    }
    const char *what = argv[1], *name = argv[2];
    long size = atol(argv[3]), count = 1;
    if (size < 65536) die("BYTES is less than 64 KiB");
    double from = now();
    if (!strcmp(what, "make")) make(name, size);
    else if (!strcmp(what, "open")) count = opens(name);
    else if (!strcmp(what, "near")) count = steps(name, size, 4096, 1, 0);
    else if (!strcmp(what, "far")) count = steps(name, size, 0, 1, 0);
    else if (!strcmp(what, "update")) count = steps(name, size, 0, 0, 1);
    else if (!strcmp(what, "change")) count = steps(name, size, 0, 1, 1);
    else if (!strcmp(what, "print")) count = print(name);
    else if (!strcmp(what, "scan")) count = scan(name, size);
    else die("what?");
    printf("%.9f\n", (now() - from) / 1e9 / (double)count);
    return 0;
}
