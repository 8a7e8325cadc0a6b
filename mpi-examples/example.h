/* What the examples share: what belongs at an offset, how an error is told, and the verdict at the end.
 * The same on any number of ranks, so that two runs can be compared byte for byte. */
#ifndef IRIS_EXAMPLE_H
#define IRIS_EXAMPLE_H
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int rank, ranks;
static long bad; /* wrong bytes that this rank has seen */

/* MPI-IO returns its errors; an example that goes on after one proves nothing. */
static inline void check(int code, const char *what) {
    if (code == MPI_SUCCESS) return;
    char text[MPI_MAX_ERROR_STRING];
    int length;
    MPI_Error_string(code, text, &length);
    fprintf(stderr, "rank %d: %s: %s\n", rank, what, text);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

/* What byte belongs at an offset: any misplaced or stale byte is noticed. */
static inline unsigned char byte_at(MPI_Offset at) {
    unsigned long long x = (unsigned long long)at * 0x9e3779b97f4a7c15ull;
    return (unsigned char)(x >> 57 ^ x >> 31);
}

static inline void fill(void *to, MPI_Offset at, size_t length) {
    unsigned char *b = to;
    for (size_t i = 0; i < length; i++) b[i] = byte_at(at + (MPI_Offset)i);
}

/* Counts the bytes that do not belong at `at`, and names the first. */
static inline void verify(const void *in, MPI_Offset at, size_t length, const char *what) {
    const unsigned char *b = in;
    long before = bad;
    for (size_t i = 0; i < length; i++) {
        if (b[i] == byte_at(at + (MPI_Offset)i)) continue;
        if (bad++ == before)
            fprintf(stderr, "rank %d: %s: byte %lld is %02x, not %02x\n", rank, what, (long long)at + (long long)i,
                    b[i], byte_at(at + (MPI_Offset)i));
    }
}

/* A status must say that everything was moved. */
static inline void moved(MPI_Status *status, MPI_Datatype type, int want, const char *what) {
    int got;
    MPI_Get_count(status, type, &got);
    if (got == want) return;
    fprintf(stderr, "rank %d: %s: the status says %d, not %d\n", rank, what, got, want);
    bad++;
}

static inline void begin(int *argc, char ***argv, int least, const char *usage) {
    MPI_Init(argc, argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (*argc > least) return;
    if (!rank) fprintf(stderr, "usage: %s\n", usage);
    MPI_Finalize();
    exit(2);
}

/* Whatever is written must be seen by the other ranks: MPI-IO's rule for a file that stays open. */
static inline void publish(MPI_File f) {
    check(MPI_File_sync(f), "sync");
    MPI_Barrier(MPI_COMM_WORLD);
    check(MPI_File_sync(f), "sync");
}

/* The exit code: 0 when no rank has seen a wrong byte. */
static inline int end(const char *what) {
    long all;
    MPI_Allreduce(&bad, &all, 1, MPI_LONG, MPI_SUM, MPI_COMM_WORLD);
    if (!rank) {
        if (all) printf("%s: %ld wrong\n", what, all);
        else printf("%s: ok\n", what);
        fflush(stdout);
    }
    MPI_Finalize();
    return all != 0;
}
#endif
