/* Checkpoint and restart: a stencil over a ring of cells. Every ten steps all ranks write the state to a new file,
 * which takes the place of the last checkpoint only when it is whole and synced. Started again, the program goes on
 * from there, on any number of ranks.
 *   mpicc checkpoint.c -o checkpoint
 *   mpirun -np 4 ./checkpoint DIR 100 45    # stops in the middle
 *   mpirun -np 2 ./checkpoint DIR 100       # goes on from step 40; DIR/final is what one run would have left */
#include "example.h"
#include <errno.h>
#include <stdint.h>

enum { CELLS = 6000, EVERY = 10 };

struct header {
    char magic[8];
    int64_t step, cells;
};

static int64_t start_value(int64_t i) { return i * i % 10007; }

/* One step of one cell: integers, so that the result does not depend on how the ring is cut. */
static int64_t next_value(int64_t left, int64_t own, int64_t right) { return (left + 3 * own + right * 5 + 1) % 1000003; }

static void save(const char *name, int64_t step, const int64_t *own, int64_t first, int64_t count) {
    MPI_File f;
    MPI_Status status;
    check(MPI_File_open(MPI_COMM_WORLD, name, MPI_MODE_CREATE | MPI_MODE_WRONLY, MPI_INFO_NULL, &f), "open");
    check(MPI_File_set_size(f, 0), "set_size");
    struct header h = {"ckpoint", step, CELLS};
    if (!rank) check(MPI_File_write_at(f, 0, &h, sizeof h, MPI_BYTE, &status), "write the header");
    /* In small pieces, as codes with many fields do. */
    for (int64_t i = 0; i < count; i += 50) {
        int n = (int)(count - i < 50 ? count - i : 50);
        MPI_Offset at = (MPI_Offset)sizeof h + (first + i) * (MPI_Offset)sizeof *own;
        check(MPI_File_write_at(f, at, own + i, n, MPI_INT64_T, &status), "write_at");
        moved(&status, MPI_INT64_T, n, "write_at");
    }
    check(MPI_File_sync(f), "sync");
    check(MPI_File_close(&f), "close");
}

int main(int argc, char **argv) {
    begin(&argc, &argv, 2, "checkpoint DIR STEPS [STOP]");
    int64_t steps = atoll(argv[2]), stop = argc > 3 ? atoll(argv[3]) : steps, step = 0;
    char new[4096], saved[4096], final[4096];
    snprintf(new, sizeof new, "%s/checkpoint.new", argv[1]);
    snprintf(saved, sizeof saved, "%s/checkpoint", argv[1]);
    snprintf(final, sizeof final, "%s/final", argv[1]);

    int64_t first = (int64_t)CELLS * rank / ranks, count = (int64_t)CELLS * (rank + 1) / ranks - first;
    int64_t *cells = malloc(((size_t)count + 2) * sizeof *cells), *next = malloc(((size_t)count + 2) * sizeof *next);
    int64_t *own = cells + 1;

    MPI_File f;
    MPI_Status status;
    if (MPI_File_open(MPI_COMM_WORLD, saved, MPI_MODE_RDONLY, MPI_INFO_NULL, &f) == MPI_SUCCESS) {
        struct header h = {{0}, 0, 0};
        check(MPI_File_read_at_all(f, 0, &h, sizeof h, MPI_BYTE, &status), "read the header");
        moved(&status, MPI_BYTE, sizeof h, "read the header");
        if (memcmp(h.magic, "ckpoint", 8) || h.cells != CELLS) {
            fprintf(stderr, "%s is no checkpoint of this program\n", saved);
            MPI_Abort(MPI_COMM_WORLD, 1);
        }
        step = h.step;
        MPI_Offset at = (MPI_Offset)sizeof h + first * (MPI_Offset)sizeof *own;
        check(MPI_File_read_at(f, at, own, (int)count, MPI_INT64_T, &status), "read_at");
        moved(&status, MPI_INT64_T, (int)count, "read_at");
        check(MPI_File_close(&f), "close");
    } else {
        for (int64_t i = 0; i < count; i++) own[i] = start_value(first + i);
    }
    int64_t from = step;

    int left = (rank + ranks - 1) % ranks, right = (rank + 1) % ranks;
    while (step < stop) {
        MPI_Sendrecv(&own[0], 1, MPI_INT64_T, left, 0, &cells[count + 1], 1, MPI_INT64_T, right, 0, MPI_COMM_WORLD,
                     MPI_STATUS_IGNORE);
        MPI_Sendrecv(&own[count - 1], 1, MPI_INT64_T, right, 1, &cells[0], 1, MPI_INT64_T, left, 1, MPI_COMM_WORLD,
                     MPI_STATUS_IGNORE);
        for (int64_t i = 1; i <= count; i++) next[i] = next_value(cells[i - 1], cells[i], cells[i + 1]);
        memcpy(own, next + 1, (size_t)count * sizeof *own);
        step++;
        if (step % EVERY == 0) {
            save(new, step, own, first, count);
            MPI_Barrier(MPI_COMM_WORLD);
            if (!rank && rename(new, saved)) {
                fprintf(stderr, "cannot rename %s: %s\n", new, strerror(errno));
                MPI_Abort(MPI_COMM_WORLD, 1);
            }
            MPI_Barrier(MPI_COMM_WORLD);
        }
    }
    if (step == steps) save(final, step, own, first, count);

    /* Rank 0 knows the right answer. */
    if (!rank) {
        int64_t *a = malloc(CELLS * sizeof *a), *b = malloc(CELLS * sizeof *b);
        for (int64_t i = 0; i < CELLS; i++) a[i] = start_value(i);
        for (int64_t s = 0; s < step; s++) {
            for (int64_t i = 0; i < CELLS; i++) b[i] = next_value(a[(i + CELLS - 1) % CELLS], a[i], a[(i + 1) % CELLS]);
            memcpy(a, b, CELLS * sizeof *a);
        }
        for (int64_t i = 0; i < count; i++) bad += own[i] != a[i];
        free(a), free(b);
        printf("from step %lld to %lld\n", (long long)from, (long long)step);
    }
    free(cells), free(next);
    return end("checkpoint");
}
