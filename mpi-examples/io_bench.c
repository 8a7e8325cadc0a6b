/* A benchmark with IOR's vocabulary: every rank writes SEGMENTS blocks of BLOCK bytes in transfers of TRANSFER bytes,
 * to one shared file or to a file of its own, and reads them back.
 *   mpicc io_bench.c -o io_bench && mpirun -np 4 ./io_bench -o FILE [options]
 *     -a MPIIO|POSIX  how (MPIIO)             -F  a file for each process
 *     -b BLOCK        bytes in a row (1m)     -c  collectively (MPIIO)
 *     -t TRANSFER     bytes a request (64k)   -z  transfers in random order
 *     -s SEGMENTS     blocks of a rank (1)    -C  read what the neighbour wrote
 *     -i REPETITIONS  (1)                     -e  fsync after writing
 *     -w, -r          write, read only        -W, -R  verify after writing, while reading
 *     -k              keep the files          -m  for machines: one line a phase, "write MiB/s seconds"
 *     -q              say nothing but the verdict
 * Sizes take k, m and g. The shared file has, segment after segment, the block of each rank. Prints the best
 * repetition; exits with 1 when a byte is wrong. */
#include "example.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static int posix, own_files, together, shuffled, reorder, do_fsync, verify_written, verify_read, keep, machine, quiet;
static int do_write = 1, do_read = 1, segments = 1, repetitions = 1;
static long long block = 1 << 20, transfer = 64 << 10;
static const char *path;

static long long size_of(const char *text) {
    char *end;
    long long n = strtoll(text, &end, 10);
    switch (*end) {
        case 'g': case 'G': n <<= 10; /* fall through */
        case 'm': case 'M': n <<= 10; /* fall through */
        case 'k': case 'K': n <<= 10;
    }
    return n;
}

static void system_error(const char *what) {
    fprintf(stderr, "rank %d: %s: %s\n", rank, what, strerror(errno));
    MPI_Abort(MPI_COMM_WORLD, 1);
}

static void name_of(char *to, size_t room, int whose) {
    if (own_files) snprintf(to, room, "%s.%08d", path, whose);
    else snprintf(to, room, "%s", path);
}

/* Where transfer i of a rank lies in its file, and which bytes belong there: no two ranks have the same. */
static MPI_Offset place(int whose, long long i, MPI_Offset *content) {
    long long each = block / transfer, segment = i / each, at = i % each * transfer;
    MPI_Offset shared = (segment * ranks + whose) * block + at;
    *content = shared;
    return own_files ? segment * block + at : shared;
}

/* The order of the transfers: the same in every run. */
static long long *order_of(long long count) {
    long long *order = malloc((size_t)count * sizeof *order);
    unsigned long long state = 88172645463325252ull + (unsigned)rank;
    for (long long i = 0; i < count; i++) order[i] = i;
    for (long long i = count - 1; shuffled && i > 0; i--) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        long long j = (long long)(state % (unsigned long long)(i + 1)), swap = order[i];
        order[i] = order[j], order[j] = swap;
    }
    return order;
}

/* One phase: all transfers of a rank, between two barriers. Gives its time. */
static double phase(int writing, int whose, int check_bytes, const long long *order, long long count) {
    char name[4096];
    char *buffer = malloc((size_t)transfer);
    MPI_File file = MPI_FILE_NULL;
    int fd = -1;
    double slowest, spent;
    name_of(name, sizeof name, whose);
    MPI_Barrier(MPI_COMM_WORLD);
    double from = MPI_Wtime();
    if (posix) {
        if ((fd = open(name, writing ? O_CREAT | O_RDWR : O_RDONLY, 0644)) < 0) system_error(name);
    } else {
        check(MPI_File_open(own_files ? MPI_COMM_SELF : MPI_COMM_WORLD, name,
                            writing ? MPI_MODE_CREATE | MPI_MODE_RDWR : MPI_MODE_RDONLY, MPI_INFO_NULL, &file), name);
    }
    for (long long i = 0; i < count; i++) {
        MPI_Offset content, at = place(whose, order[i], &content);
        MPI_Status status;
        if (writing) fill(buffer, content, check_bytes || !i ? (size_t)transfer : 0);
        if (posix) {
            ssize_t n = writing ? pwrite(fd, buffer, (size_t)transfer, at) : pread(fd, buffer, (size_t)transfer, at);
            if (n != transfer) system_error(writing ? "pwrite" : "pread");
        } else if (writing) {
            check(together ? MPI_File_write_at_all(file, at, buffer, (int)transfer, MPI_BYTE, &status)
                           : MPI_File_write_at(file, at, buffer, (int)transfer, MPI_BYTE, &status), "write_at");
        } else {
            check(together ? MPI_File_read_at_all(file, at, buffer, (int)transfer, MPI_BYTE, &status)
                           : MPI_File_read_at(file, at, buffer, (int)transfer, MPI_BYTE, &status), "read_at");
        }
        if (!writing && check_bytes) verify(buffer, content, (size_t)transfer, "read");
    }
    if (writing && do_fsync) {
        if (posix && fsync(fd)) system_error("fsync");
        if (!posix) check(MPI_File_sync(file), "sync");
    }
    if (posix) close(fd);
    else check(MPI_File_close(&file), "close");
    spent = MPI_Wtime() - from;
    MPI_Allreduce(&spent, &slowest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    free(buffer);
    return slowest;
}

static void tell(const char *what, double seconds) {
    double mib = (double)block * segments * ranks / (1 << 20);
    if (rank || quiet) return;
    if (machine) printf("%s %.6f %.6f\n", what, mib / seconds, seconds);
    else printf("%-6s %10.2f MiB/s  %9.6f s  %.0f requests/s\n", what, mib / seconds, seconds,
                (double)block * segments * ranks / (double)transfer / seconds);
}

int main(int argc, char **argv) {
    begin(&argc, &argv, 2, "io_bench -o FILE [-a MPIIO|POSIX] [-b BLOCK] [-t TRANSFER] [-s SEGMENTS] [-FcCzewrWRkmq]");
    for (int o; (o = getopt(argc, argv, "a:b:t:s:i:o:FcCzewrWRkmq")) != -1;) switch (o) {
        case 'a': posix = !strcmp(optarg, "POSIX"); break;
        case 'b': block = size_of(optarg); break;
        case 't': transfer = size_of(optarg); break;
        case 's': segments = atoi(optarg); break;
        case 'i': repetitions = atoi(optarg); break;
        case 'o': path = optarg; break;
        case 'F': own_files = 1; break;
        case 'c': together = 1; break;
        case 'C': reorder = 1; break;
        case 'z': shuffled = 1; break;
        case 'e': do_fsync = 1; break;
        case 'w': do_read = 0; break;
        case 'r': do_write = 0; break;
        case 'W': verify_written = 1; break;
        case 'R': verify_read = 1; break;
        case 'k': keep = 1; break;
        case 'm': machine = 1; break;
        case 'q': quiet = 1; break;
        default: MPI_Abort(MPI_COMM_WORLD, 2);
    }
    if (!path || transfer <= 0 || block <= 0 || block % transfer || segments < 1) {
        if (!rank) fprintf(stderr, "io_bench: -o FILE is needed, and BLOCK must be a multiple of TRANSFER\n");
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    long long count = block / transfer * segments;
    long long *order = order_of(count);
    char name[4096];
    double written = 0, read = 0;
    /* What is verified must be written in full; else the first fill of the buffer serves for all transfers. */
    int full = verify_written || verify_read;
    for (int i = 0; i < repetitions; i++) {
        name_of(name, sizeof name, rank);
        MPI_Barrier(MPI_COMM_WORLD);
        if (do_write && (own_files || !rank) && unlink(name) && errno != ENOENT) system_error(name);
        if (do_write) {
            double t = phase(1, rank, full, order, count);
            if (!i || t < written) written = t;
        }
        if (verify_written) phase(0, rank, 1, order, count);
        if (do_read) {
            double t = phase(0, reorder ? (rank + 1) % ranks : rank, verify_read, order, count);
            if (!i || t < read) read = t;
        }
        MPI_Barrier(MPI_COMM_WORLD);
    }
    if (do_write) tell("write", written);
    if (do_read) tell("read", read);
    name_of(name, sizeof name, rank);
    if (!keep && do_write && (own_files || !rank)) unlink(name);
    free(order);
    return end("io_bench");
}
