/* File per process: each rank writes small records to a file of its own, and reads another rank's afterwards.
 *   mpicc file_per_process.c -o file_per_process && mpirun -np 4 ./file_per_process PREFIX [RECORDS] */
#include "example.h"

enum { RECORD = 736 };

static MPI_File open_of(const char *prefix, int whose, int mode) {
    char name[4096];
    snprintf(name, sizeof name, "%s.%04d", prefix, whose);
    MPI_File f;
    check(MPI_File_open(MPI_COMM_SELF, name, mode, MPI_INFO_NULL, &f), name);
    return f;
}

int main(int argc, char **argv) {
    begin(&argc, &argv, 1, "file_per_process PREFIX [RECORDS]");
    int records = argc > 2 ? atoi(argv[2]) : 500;
    unsigned char record[RECORD];
    MPI_Status status;

    MPI_File f = open_of(argv[1], rank, MPI_MODE_CREATE | MPI_MODE_WRONLY);
    for (int i = 0; i < records; i++) {
        fill(record, (MPI_Offset)rank << 32 | i * RECORD, RECORD);
        check(MPI_File_write(f, record, RECORD, MPI_BYTE, &status), "write");
        moved(&status, MPI_BYTE, RECORD, "write");
    }
    check(MPI_File_close(&f), "close");

    /* Close, barrier, open: now everybody may read. */
    MPI_Barrier(MPI_COMM_WORLD);
    int other = (rank + 1) % ranks;
    f = open_of(argv[1], other, MPI_MODE_RDONLY);
    MPI_Offset size;
    check(MPI_File_get_size(f, &size), "get_size");
    if (size != (MPI_Offset)records * RECORD) bad++;
    for (int i = records - 1; i >= 0; i--) {
        check(MPI_File_read_at(f, (MPI_Offset)i * RECORD, record, RECORD, MPI_BYTE, &status), "read_at");
        moved(&status, MPI_BYTE, RECORD, "read_at");
        verify(record, (MPI_Offset)other << 32 | i * RECORD, RECORD, "another rank's file");
    }
    /* Behind the end there is nothing. */
    check(MPI_File_read_at(f, size, record, RECORD, MPI_BYTE, &status), "read_at");
    moved(&status, MPI_BYTE, 0, "a read behind the end");
    check(MPI_File_read_at(f, size - 10, record, RECORD, MPI_BYTE, &status), "read_at");
    moved(&status, MPI_BYTE, 10, "a read over the end");
    check(MPI_File_close(&f), "close");
    return end("file_per_process");
}
