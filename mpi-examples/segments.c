/* One shared file. Segmented: each rank has a stretch of its own. Strided: the ranks' records take turns. Both with
 * explicit offsets, of bytes and of doubles, and then the strided half again through a view.
 *   mpicc segments.c -o segments && mpirun -np 4 ./segments FILE [RECORDS] */
#include "example.h"

enum { RECORD = 96 }; /* doubles */

static double value(int whose, int record, int i) { return whose * 1e6 + record * 100.0 + i / 128.0; }

static void fill_doubles(double *to, int whose, int record) {
    for (int i = 0; i < RECORD; i++) to[i] = value(whose, record, i);
}

static void verify_doubles(const double *in, int whose, int record, const char *what) {
    for (int i = 0; i < RECORD; i++) bad += in[i] != value(whose, record, i);
    if (bad) fprintf(stderr, "rank %d: %s: record %d of rank %d is wrong\n", rank, what, record, whose);
}

int main(int argc, char **argv) {
    begin(&argc, &argv, 1, "segments FILE [RECORDS]");
    int records = argc > 2 ? atoi(argv[2]) : 400;
    const MPI_Offset length = RECORD * sizeof(double);
    const MPI_Offset half = length * records * ranks;
    double record[RECORD];
    MPI_Status status;
    MPI_File f;

    check(MPI_File_open(MPI_COMM_WORLD, argv[1], MPI_MODE_CREATE | MPI_MODE_RDWR, MPI_INFO_NULL, &f), "open");
    check(MPI_File_set_size(f, 0), "set_size");
    MPI_Barrier(MPI_COMM_WORLD);

    for (int i = 0; i < records; i++) {
        fill_doubles(record, rank, i);
        MPI_Offset at = ((MPI_Offset)rank * records + i) * length;
        check(MPI_File_write_at(f, at, record, RECORD, MPI_DOUBLE, &status), "write_at");
        moved(&status, MPI_DOUBLE, RECORD, "segmented write");
    }
    /* The view counts in doubles, from where the first half ends. */
    check(MPI_File_set_view(f, half, MPI_DOUBLE, MPI_DOUBLE, "native", MPI_INFO_NULL), "set_view");
    for (int i = 0; i < records; i++) {
        fill_doubles(record, rank, i);
        MPI_Offset at = ((MPI_Offset)i * ranks + rank) * RECORD;
        check(MPI_File_write_at(f, at, record, (int)length, MPI_BYTE, &status), "write_at");
        moved(&status, MPI_BYTE, (int)length, "strided write");
    }
    publish(f);

    int other = (rank + 1) % ranks;
    for (int i = 0; i < records; i++) {
        MPI_Offset at = ((MPI_Offset)i * ranks + other) * RECORD;
        check(MPI_File_read_at(f, at, record, RECORD, MPI_DOUBLE, &status), "read_at");
        moved(&status, MPI_DOUBLE, RECORD, "strided read");
        verify_doubles(record, other, i, "strided");
    }
    check(MPI_File_set_view(f, 0, MPI_BYTE, MPI_BYTE, "native", MPI_INFO_NULL), "set_view");
    for (int i = 0; i < records; i++) {
        MPI_Offset at = ((MPI_Offset)other * records + i) * length;
        check(MPI_File_read_at(f, at, record, RECORD, MPI_DOUBLE, &status), "read_at");
        verify_doubles(record, other, i, "segmented");
    }

    /* The strided half once more, each rank through a view that shows its own records only. */
    MPI_Datatype stripe;
    check(MPI_Type_vector(records, RECORD, RECORD * ranks, MPI_DOUBLE, &stripe), "vector");
    check(MPI_Type_commit(&stripe), "commit");
    check(MPI_File_set_view(f, half + other * length, MPI_DOUBLE, stripe, "native", MPI_INFO_NULL), "set_view");
    for (int i = 0; i < records; i++) {
        check(MPI_File_read(f, record, RECORD, MPI_DOUBLE, &status), "read");
        moved(&status, MPI_DOUBLE, RECORD, "read through a view");
        verify_doubles(record, other, i, "through a view");
    }
    /* Everybody changes one record of the neighbour's through the view; offsets count in the view's doubles. */
    fill_doubles(record, other, records + 7);
    check(MPI_File_write_at(f, (MPI_Offset)(records / 2) * RECORD, record, RECORD, MPI_DOUBLE, &status), "write_at");
    check(MPI_Type_free(&stripe), "free");
    check(MPI_File_close(&f), "close");

    MPI_Barrier(MPI_COMM_WORLD);
    check(MPI_File_open(MPI_COMM_WORLD, argv[1], MPI_MODE_RDONLY, MPI_INFO_NULL, &f), "open");
    MPI_Offset size;
    check(MPI_File_get_size(f, &size), "get_size");
    if (size != 2 * half) bad++;
    double *all = malloc((size_t)records * sizeof record);
    check(MPI_Type_vector(records, RECORD, RECORD * ranks, MPI_DOUBLE, &stripe), "vector");
    check(MPI_Type_commit(&stripe), "commit");
    check(MPI_File_set_view(f, half + rank * length, MPI_DOUBLE, stripe, "native", MPI_INFO_NULL), "set_view");
    check(MPI_File_read_at_all(f, 0, all, records * RECORD, MPI_DOUBLE, &status), "read_at_all");
    moved(&status, MPI_DOUBLE, records * RECORD, "read_at_all");
    for (int i = 0; i < records; i++)
        verify_doubles(all + i * RECORD, rank, i == records / 2 ? records + 7 : i, "reopened");
    check(MPI_Type_free(&stripe), "free");
    free(all);
    check(MPI_File_close(&f), "close");
    return end("segments");
}
