/* What a hook adds to calls on descriptors that are not Iris's. Each call is made through its symbol and as a bare
 * system call, in alternating batches in one process; the difference of the medians is what lies between the
 * program and the kernel: glibc natively, hook and glibc when preloaded. The bench subtracts the two.
 *   hook-cost alone|threads [MOUNTED-FILE]
 *     threads        a second thread sleeps: in its sight glibc's read, write and pread cost more (cancellation)
 *     MOUNTED-FILE   is held open and written a little, so that the mount is in use, and Iris's own thread runs
 * Prints "NAME NANOSECONDS" lines. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 200, BATCHES = 3000 };
static int null_fd, file_fd;
static char buffer[64];

static long raw(long n, long a, long b, long c, long d) {
    long result;
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall" : "=a"(result) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return result;
}

static void via_write(void) { if (write(null_fd, buffer, 1) != 1) abort(); }
static void raw_write(void) { if (raw(SYS_write, null_fd, (long)buffer, 1, 0) != 1) abort(); }
static void via_read(void) { if (read(null_fd, buffer, 1)) abort(); }
static void raw_read(void) { if (raw(SYS_read, null_fd, (long)buffer, 1, 0)) abort(); }
static void via_pread(void) { if (pread(file_fd, buffer, 8, 0) != 8) abort(); }
static void raw_pread(void) { if (raw(SYS_pread64, file_fd, (long)buffer, 8, 0) != 8) abort(); }
static void via_lseek(void) { if (lseek(file_fd, 3, SEEK_SET) != 3) abort(); }
static void raw_lseek(void) { if (raw(SYS_lseek, file_fd, 3, SEEK_SET, 0) != 3) abort(); }
static void via_bad(void) { if (lseek(-1, 0, SEEK_SET) != -1) abort(); }
static void raw_bad(void) { if (raw(SYS_lseek, -1, 0, SEEK_SET, 0) >= 0) abort(); }

static double batch(void (*call)(void)) {
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (int i = 0; i < BATCH; i++) call();
    clock_gettime(CLOCK_MONOTONIC, &b);
    return ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / BATCH;
}
static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
static void measure(const char *name, void (*via)(void), void (*bare)(void)) {
    static double with[BATCHES], without[BATCHES];
    for (int i = 0; i < 50; i++) batch(via), batch(bare);
    for (int i = 0; i < BATCHES; i++) {
        with[i] = batch(via);
        without[i] = batch(bare);
    }
    qsort(with, BATCHES, sizeof *with, by_size);
    qsort(without, BATCHES, sizeof *without, by_size);
    /* The lower quartile: what interrupts add is not the hook's. */
    printf("%s %.2f\n", name, with[BATCHES / 4] - without[BATCHES / 4]);
}

static void *sleeps(void *nothing) {
    for (;;) pause();
    return nothing;
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    pthread_t thread;
    if (!strcmp(argv[1], "threads") && pthread_create(&thread, NULL, sleeps, NULL)) return 1;
    null_fd = open("/dev/null", O_RDWR);
    file_fd = open(argv[0], O_RDONLY);
    if (null_fd < 0 || file_fd < 0) return 1;
    if (argc > 2) {
        int fd = open(argv[2], O_RDWR | O_CREAT, 0644);
        if (fd < 0) return 1;
        for (int i = 0; i < 100; i++)
            if (write(fd, buffer, sizeof buffer) != sizeof buffer) return 1;
    }
    measure("write", via_write, raw_write);
    measure("read", via_read, raw_read);
    measure("pread", via_pread, raw_pread);
    measure("lseek", via_lseek, raw_lseek);
    measure("lseek(-1)", via_bad, raw_bad);
    return 0;
}
