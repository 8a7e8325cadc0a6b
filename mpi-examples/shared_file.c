/* Ranks of one MPI program share one file through MPI-IO, in the ways that real codes do:
 * small records interleaved between the ranks, the same through a strided view and a collective write, a shared
 * file pointer's neighbour (ordered mode), and non-blocking writes. Then every rank reads what another one wrote
 * and checks each byte.
 *   mpicc shared_file.c -o shared_file && mpirun -np 4 ./shared_file FILE [RECORDS]
 * Prints "ok" with the size and a checksum of the file; exits with 1 when a byte is wrong. */
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RECORD = 500, BIG = 1 << 18 };

static int rank, ranks;

static void check(int code, const char *what) {
    if (code == MPI_SUCCESS) return;
    char text[MPI_MAX_ERROR_STRING];
    int length;
    MPI_Error_string(code, text, &length);
    fprintf(stderr, "rank %d: %s: %s\n", rank, what, text);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

/* What byte belongs at an offset: any misplaced or stale byte is noticed. */
static unsigned char byte_at(MPI_Offset at) { return (unsigned char)((at * 2654435761u + (at >> 9)) >> 13); }
static void fill(unsigned char *to, MPI_Offset at, int length) {
    for (int i = 0; i < length; i++) to[i] = byte_at(at + i);
}
static long wrong(const unsigned char *in, MPI_Offset at, int length) {
    long bad = 0;
    for (int i = 0; i < length; i++) bad += in[i] != byte_at(at + i);
    return bad;
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (argc < 2) {
        if (!rank) fprintf(stderr, "usage: shared_file FILE [RECORDS]\n");
        MPI_Finalize();
        return 2;
    }
    int records = argc > 2 ? atoi(argv[2]) : 2000;
    MPI_File f;
    unsigned char *big = malloc(BIG), record[RECORD];
    long bad = 0;

    check(MPI_File_open(MPI_COMM_WORLD, argv[1], MPI_MODE_CREATE | MPI_MODE_RDWR, MPI_INFO_NULL, &f), "open");
    check(MPI_File_set_size(f, 0), "set_size");
    MPI_Barrier(MPI_COMM_WORLD);

    /* 1. Interleaved small records, each rank by itself. */
    for (int i = 0; i < records; i++) {
        MPI_Offset at = ((MPI_Offset)i * ranks + rank) * RECORD;
        fill(record, at, RECORD);
        check(MPI_File_write_at(f, at, record, RECORD, MPI_BYTE, MPI_STATUS_IGNORE), "write_at");
    }
    MPI_Offset base = (MPI_Offset)records * ranks * RECORD;

    /* 2. The same shape through a strided view, collectively. */
    MPI_Datatype stripe;
    MPI_Type_vector(64, RECORD, RECORD * ranks, MPI_BYTE, &stripe);
    MPI_Type_commit(&stripe);
    check(MPI_File_set_view(f, base + (MPI_Offset)rank * RECORD, MPI_BYTE, stripe, "native", MPI_INFO_NULL), "view");
    for (int i = 0; i < 64; i++) fill(big + i * RECORD, base + ((MPI_Offset)i * ranks + rank) * RECORD, RECORD);
    check(MPI_File_write_all(f, big, 64 * RECORD, MPI_BYTE, MPI_STATUS_IGNORE), "write_all");
    MPI_Type_free(&stripe);
    check(MPI_File_set_view(f, 0, MPI_BYTE, MPI_BYTE, "native", MPI_INFO_NULL), "view");
    base += (MPI_Offset)64 * ranks * RECORD;

    /* 3. Large blocks, and a non-blocking small one behind them. */
    MPI_Offset at = base + (MPI_Offset)rank * BIG;
    fill(big, at, BIG);
    check(MPI_File_write_at_all(f, at, big, BIG, MPI_BYTE, MPI_STATUS_IGNORE), "write_at_all");
    base += (MPI_Offset)ranks * BIG;
    MPI_Request request;
    at = base + (MPI_Offset)rank * RECORD;
    fill(record, at, RECORD);
    check(MPI_File_iwrite_at(f, at, record, RECORD, MPI_BYTE, &request), "iwrite_at");
    check(MPI_Wait(&request, MPI_STATUS_IGNORE), "wait");
    base += (MPI_Offset)ranks * RECORD;

    /* 4. Ordered writes through the shared file pointer. */
    check(MPI_File_seek_shared(f, base, MPI_SEEK_SET), "seek_shared");
    for (int i = 0; i < 16; i++) {
        at = base + ((MPI_Offset)i * ranks + rank) * RECORD;
        fill(record, at, RECORD);
        check(MPI_File_write_ordered(f, record, RECORD, MPI_BYTE, MPI_STATUS_IGNORE), "write_ordered");
    }
    base += (MPI_Offset)16 * ranks * RECORD;

    /* Sync, barrier, sync: the rule of MPI-IO for reading what others wrote. */
    check(MPI_File_sync(f), "sync");
    MPI_Barrier(MPI_COMM_WORLD);
    check(MPI_File_sync(f), "sync");

    MPI_Offset size;
    check(MPI_File_get_size(f, &size), "get_size");
    if (size != base) {
        fprintf(stderr, "rank %d: the size is %lld, not %lld\n", rank, (long long)size, (long long)base);
        bad++;
    }
    for (int i = 0; i < records; i++) {
        at = ((MPI_Offset)i * ranks + (rank + 1) % ranks) * RECORD;
        check(MPI_File_read_at(f, at, record, RECORD, MPI_BYTE, MPI_STATUS_IGNORE), "read_at");
        bad += wrong(record, at, RECORD);
    }
    uint64_t sum = 1469598103934665603u;
    for (at = 0; at < size; at += BIG) {
        int want = size - at < BIG ? (int)(size - at) : BIG, got;
        MPI_Status status;
        check(MPI_File_read_at_all(f, at, big, want, MPI_BYTE, &status), "read_at_all");
        MPI_Get_count(&status, MPI_BYTE, &got);
        bad += got != want ? want - got : wrong(big, at, want);
        for (int i = 0; i < got; i++) sum = (sum ^ big[i]) * 1099511628211u;
    }
    check(MPI_File_close(&f), "close");

    long all;
    MPI_Allreduce(&bad, &all, 1, MPI_LONG, MPI_SUM, MPI_COMM_WORLD);
    if (!rank) {
        if (all) printf("%ld bytes are wrong\n", all);
        else printf("ok: %d ranks, %lld bytes, checksum %016llx\n", ranks, (long long)size, (unsigned long long)sum);
    }
    free(big);
    MPI_Finalize();
    return all != 0;
}
