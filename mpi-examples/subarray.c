/* A matrix spread over the ranks: written collectively by blocks of rows and columns (subarray views), read back by
 * other blocks, with collective buffering as the library chooses.
 *   mpicc subarray.c -o subarray && mpirun -np 4 ./subarray FILE [SIDE] */
#include "example.h"

/* A rank's part of a SIDE×SIDE matrix that a grid of `rows`×`columns` ranks shares. */
struct part {
    int start[2], length[2];
};

static struct part part_of(int whose, int rows, int columns, int side) {
    int r = whose / columns, c = whose % columns;
    struct part p;
    p.start[0] = side * r / rows, p.length[0] = side * (r + 1) / rows - p.start[0];
    p.start[1] = side * c / columns, p.length[1] = side * (c + 1) / columns - p.start[1];
    return p;
}

static MPI_Datatype view_of(const struct part *p, int side) {
    int sizes[2] = {side, side};
    MPI_Datatype t;
    check(MPI_Type_create_subarray(2, sizes, p->length, p->start, MPI_ORDER_C, MPI_INT, &t), "subarray");
    check(MPI_Type_commit(&t), "commit");
    return t;
}

static int value(int row, int column) { return row * 65521 ^ column * 257; }

int main(int argc, char **argv) {
    begin(&argc, &argv, 1, "subarray FILE [SIDE]");
    int side = argc > 2 ? atoi(argv[2]) : 300;
    int rows = 1;
    while ((rows + 1) * (rows + 1) <= ranks) rows++;
    while (ranks % rows) rows--;
    int columns = ranks / rows;
    MPI_Status status;
    MPI_File f;

    struct part p = part_of(rank, rows, columns, side);
    int count = p.length[0] * p.length[1];
    int *block = malloc(sizeof(int) * (size_t)side * (size_t)side);
    for (int i = 0; i < count; i++)
        block[i] = value(p.start[0] + i / p.length[1], p.start[1] + i % p.length[1]);
    check(MPI_File_open(MPI_COMM_WORLD, argv[1], MPI_MODE_CREATE | MPI_MODE_RDWR, MPI_INFO_NULL, &f), "open");
    MPI_Datatype view = view_of(&p, side);
    check(MPI_File_set_view(f, 0, MPI_INT, view, "native", MPI_INFO_NULL), "set_view");
    check(MPI_File_write_all(f, block, count, MPI_INT, &status), "write_all");
    moved(&status, MPI_INT, count, "write_all");
    MPI_Type_free(&view);
    publish(f);

    /* The other way round: whole columns, one stretch a rank; independently, and then collectively. */
    for (int together = 0; together < 2; together++) {
        p = part_of(ranks - 1 - rank, together ? columns : 1, together ? rows : ranks, side);
        count = p.length[0] * p.length[1];
        memset(block, 0xff, sizeof(int) * (size_t)count);
        view = view_of(&p, side);
        check(MPI_File_set_view(f, 0, MPI_INT, view, "native", MPI_INFO_NULL), "set_view");
        if (together) check(MPI_File_read_all(f, block, count, MPI_INT, &status), "read_all");
        else check(MPI_File_read(f, block, count, MPI_INT, &status), "read");
        moved(&status, MPI_INT, count, "read");
        for (int i = 0; i < count; i++)
            bad += block[i] != value(p.start[0] + i / p.length[1], p.start[1] + i % p.length[1]);
        MPI_Type_free(&view);
    }
    check(MPI_File_close(&f), "close");
    free(block);
    return end("subarray");
}
