/* Parallel HDF5: one file, a contiguous and a chunked dataset, written by hyperslabs collectively and independently,
 * attributes and groups; closed, opened again and read by other ranks.
 *   h5pcc parallel_hdf5.c -o parallel_hdf5 && mpirun -np 4 ./parallel_hdf5 FILE */
#include "example.h"
#include <hdf5.h>

enum { ROWS = 240, COLUMNS = 90, POINTS = 1000 };

static void h5(hid_t result, const char *what) {
    if (result >= 0) return;
    fprintf(stderr, "rank %d: %s failed\n", rank, what);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

static double cell(hsize_t row, hsize_t column) { return (double)row * 1000.0 + (double)column / 8; }

/* The rows of a rank. */
static void rows_of(int whose, hsize_t start[2], hsize_t count[2]) {
    start[0] = (hsize_t)(ROWS * whose / ranks), start[1] = 0;
    count[0] = (hsize_t)(ROWS * (whose + 1) / ranks) - start[0], count[1] = COLUMNS;
}

static hid_t open_file(const char *name, int create) {
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    h5(H5Pset_fapl_mpio(access, MPI_COMM_WORLD, MPI_INFO_NULL), "H5Pset_fapl_mpio");
    h5(H5Pset_all_coll_metadata_ops(access, create), "H5Pset_all_coll_metadata_ops");
    hid_t file = create ? H5Fcreate(name, H5F_ACC_TRUNC, H5P_DEFAULT, access) : H5Fopen(name, H5F_ACC_RDWR, access);
    h5(file, name);
    h5(H5Pclose(access), "H5Pclose");
    return file;
}

static hid_t dataset(hid_t file, const char *name, hid_t type, int dimensions, const hsize_t *size, const hsize_t *chunk) {
    hid_t space = H5Screate_simple(dimensions, size, NULL), how = H5Pcreate(H5P_DATASET_CREATE);
    h5(H5Pset_obj_track_times(how, 0), "H5Pset_obj_track_times"); /* the same file every time */
    h5(H5Pset_alloc_time(how, H5D_ALLOC_TIME_EARLY), "H5Pset_alloc_time");
    if (chunk) h5(H5Pset_chunk(how, dimensions, chunk), "H5Pset_chunk");
    hid_t set = H5Dcreate2(file, name, type, space, H5P_DEFAULT, how, H5P_DEFAULT);
    h5(set, name);
    H5Pclose(how), H5Sclose(space);
    return set;
}

static void move_rows(hid_t file, const char *name, int whose, int write, int together, double *cells) {
    hsize_t start[2], count[2];
    rows_of(whose, start, count);
    hid_t set = H5Dopen2(file, name, H5P_DEFAULT), space = H5Dget_space(set), memory = H5Screate_simple(2, count, NULL);
    h5(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL), "H5Sselect_hyperslab");
    hid_t how = H5Pcreate(H5P_DATASET_XFER);
    h5(H5Pset_dxpl_mpio(how, together ? H5FD_MPIO_COLLECTIVE : H5FD_MPIO_INDEPENDENT), "H5Pset_dxpl_mpio");
    if (write) {
        for (hsize_t i = 0; i < count[0] * count[1]; i++) cells[i] = cell(start[0] + i / COLUMNS, i % COLUMNS);
        h5(H5Dwrite(set, H5T_NATIVE_DOUBLE, memory, space, how, cells), "H5Dwrite");
    } else {
        memset(cells, 0, sizeof(double) * count[0] * count[1]);
        h5(H5Dread(set, H5T_NATIVE_DOUBLE, memory, space, how, cells), "H5Dread");
        for (hsize_t i = 0; i < count[0] * count[1]; i++)
            bad += cells[i] != cell(start[0] + i / COLUMNS, i % COLUMNS);
    }
    H5Pclose(how), H5Sclose(memory), H5Sclose(space), H5Dclose(set);
}

int main(int argc, char **argv) {
    begin(&argc, &argv, 1, "parallel_hdf5 FILE");
    double *cells = malloc(sizeof *cells * ROWS * COLUMNS);
    const hsize_t size[2] = {ROWS, COLUMNS}, chunk[2] = {ROWS / 8, COLUMNS / 3}, points = POINTS;

    hid_t file = open_file(argv[1], 1);
    hid_t group = H5Gcreate2(file, "grid", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    h5(group, "grid");
    H5Dclose(dataset(file, "grid/whole", H5T_IEEE_F64LE, 2, size, NULL));
    H5Dclose(dataset(file, "grid/chunked", H5T_IEEE_F64LE, 2, size, chunk));
    hid_t set = dataset(file, "points", H5T_STD_I32LE, 1, &points, NULL);

    hid_t scalar = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(group, "step", H5T_STD_I32LE, scalar, H5P_DEFAULT, H5P_DEFAULT);
    int step = 42;
    h5(H5Awrite(attribute, H5T_NATIVE_INT, &step), "H5Awrite");
    H5Aclose(attribute), H5Sclose(scalar), H5Gclose(group);

    move_rows(file, "grid/whole", rank, 1, 1, cells);
    move_rows(file, "grid/chunked", rank, 1, 0, cells);

    /* Every rank its own scattered points: small independent writes. */
    hid_t space = H5Dget_space(set);
    for (int i = rank; i < POINTS; i += ranks) {
        hsize_t at = (hsize_t)i, one = 1;
        int value = i * 7919;
        hid_t memory = H5Screate_simple(1, &one, NULL);
        h5(H5Sselect_hyperslab(space, H5S_SELECT_SET, &at, NULL, &one, NULL), "H5Sselect_hyperslab");
        h5(H5Dwrite(set, H5T_NATIVE_INT, memory, space, H5P_DEFAULT, &value), "H5Dwrite");
        H5Sclose(memory);
    }
    H5Sclose(space), H5Dclose(set);
    h5(H5Fflush(file, H5F_SCOPE_GLOBAL), "H5Fflush");
    MPI_Barrier(MPI_COMM_WORLD);
    move_rows(file, "grid/whole", (rank + 1) % ranks, 0, 0, cells);
    h5(H5Fclose(file), "H5Fclose");

    file = open_file(argv[1], 0);
    move_rows(file, "grid/chunked", (rank + 1) % ranks, 0, 1, cells);
    move_rows(file, "grid/whole", ranks - 1 - rank, 0, 0, cells);
    int all[POINTS];
    set = H5Dopen2(file, "points", H5P_DEFAULT);
    h5(H5Dread(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, all), "H5Dread");
    for (int i = 0; i < POINTS; i++) bad += all[i] != i * 7919;
    H5Dclose(set);
    h5(H5Fclose(file), "H5Fclose");
    free(cells);
    return end("parallel_hdf5");
}
