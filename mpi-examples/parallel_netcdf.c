/* PnetCDF: a CDF-5 file with a record variable and a fixed one, written collectively, independently and by
 * nonblocking requests that are sent together; read back by other ranks.
 *   mpicc parallel_netcdf.c -lpnetcdf -o parallel_netcdf && mpirun -np 4 ./parallel_netcdf FILE */
#include "example.h"
#include <pnetcdf.h>

enum { ROWS = 120, COLUMNS = 64, STEPS = 5 };

static void nc(int code, const char *what) {
    if (code == NC_NOERR) return;
    fprintf(stderr, "rank %d: %s: %s\n", rank, what, ncmpi_strerror(code));
    MPI_Abort(MPI_COMM_WORLD, 1);
}

static float field(MPI_Offset step, MPI_Offset row, MPI_Offset column) {
    return (float)(step * 100000 + row * 128 + column) / 4;
}

static void rows_of(int whose, MPI_Offset *start, MPI_Offset *count) {
    *start = ROWS * whose / ranks;
    *count = ROWS * (whose + 1) / ranks - *start;
}

int main(int argc, char **argv) {
    begin(&argc, &argv, 1, "parallel_netcdf FILE");
    int file, dimension[3], temperature, mask;
    MPI_Offset start[3] = {0}, count[3] = {1, 0, COLUMNS};
    rows_of(rank, &start[1], &count[1]);
    float *values = malloc(sizeof *values * ROWS * COLUMNS * STEPS);
    signed char row[COLUMNS];

    nc(ncmpi_create(MPI_COMM_WORLD, argv[1], NC_CLOBBER | NC_64BIT_DATA, MPI_INFO_NULL, &file), "create");
    nc(ncmpi_def_dim(file, "step", NC_UNLIMITED, &dimension[0]), "def_dim");
    nc(ncmpi_def_dim(file, "row", ROWS, &dimension[1]), "def_dim");
    nc(ncmpi_def_dim(file, "column", COLUMNS, &dimension[2]), "def_dim");
    nc(ncmpi_def_var(file, "mask", NC_BYTE, 2, dimension + 1, &mask), "def_var");
    nc(ncmpi_def_var(file, "temperature", NC_FLOAT, 3, dimension, &temperature), "def_var");
    nc(ncmpi_put_att_text(file, temperature, "units", 1, "K"), "put_att");
    nc(ncmpi_enddef(file), "enddef");

    /* One step collectively, the others as requests that one call sends. */
    for (int s = 0; s < STEPS; s++)
        for (MPI_Offset i = 0; i < count[1] * COLUMNS; i++)
            values[s * ROWS * COLUMNS + i] = field(s, start[1] + i / COLUMNS, i % COLUMNS);
    nc(ncmpi_put_vara_float_all(file, temperature, start, count, values), "put_vara_all");
    int requests[STEPS], codes[STEPS];
    for (int s = 1; s < STEPS; s++) {
        start[0] = s;
        nc(ncmpi_iput_vara_float(file, temperature, start, count, values + s * ROWS * COLUMNS, &requests[s]), "iput");
    }
    nc(ncmpi_wait_all(file, STEPS - 1, requests + 1, codes + 1), "wait_all");
    for (int s = 1; s < STEPS; s++) nc(codes[s], "a request");

    /* Row by row, each rank by itself. */
    nc(ncmpi_begin_indep_data(file), "begin_indep_data");
    for (int r = rank; r < ROWS; r += ranks) {
        MPI_Offset at[2] = {r, 0}, size[2] = {1, COLUMNS};
        for (int i = 0; i < COLUMNS; i++) row[i] = (signed char)(r ^ i);
        nc(ncmpi_put_vara_schar(file, mask, at, size, row), "put_vara");
    }
    nc(ncmpi_end_indep_data(file), "end_indep_data");
    nc(ncmpi_close(file), "close");

    nc(ncmpi_open(MPI_COMM_WORLD, argv[1], NC_NOWRITE, MPI_INFO_NULL, &file), "open");
    nc(ncmpi_inq_varid(file, "temperature", &temperature), "inq_varid");
    nc(ncmpi_inq_varid(file, "mask", &mask), "inq_varid");
    rows_of((rank + 1) % ranks, &start[1], &count[1]);
    for (int s = 0; s < STEPS; s++) {
        start[0] = s;
        nc(ncmpi_get_vara_float_all(file, temperature, start, count, values), "get_vara_all");
        for (MPI_Offset i = 0; i < count[1] * COLUMNS; i++)
            bad += values[i] != field(s, start[1] + i / COLUMNS, i % COLUMNS);
    }
    nc(ncmpi_begin_indep_data(file), "begin_indep_data");
    for (int r = ranks - 1 - rank; r < ROWS; r += ranks) {
        MPI_Offset at[2] = {r, 0}, size[2] = {1, COLUMNS};
        nc(ncmpi_get_vara_schar(file, mask, at, size, row), "get_vara");
        for (int i = 0; i < COLUMNS; i++) bad += row[i] != (signed char)(r ^ i);
    }
    nc(ncmpi_end_indep_data(file), "end_indep_data");
    nc(ncmpi_close(file), "close");
    free(values);
    return end("parallel_netcdf");
}
