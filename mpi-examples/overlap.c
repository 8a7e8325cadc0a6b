/* Computing while the last block is being written, and while the next is being read: two buffers and nonblocking
 * calls.
 *   mpicc overlap.c -o overlap && mpirun -np 4 ./overlap FILE [BLOCKS] */
#include "example.h"

enum { BLOCK = 20000, SMALL = 120 };

int main(int argc, char **argv) {
    begin(&argc, &argv, 1, "overlap FILE [BLOCKS]");
    int blocks = argc > 2 ? atoi(argv[2]) : 40;
    unsigned char *buffer[2] = {malloc(BLOCK), malloc(BLOCK)}, small[8][SMALL];
    MPI_Request request[2] = {MPI_REQUEST_NULL, MPI_REQUEST_NULL}, some[8];
    MPI_Status status, several[8];
    MPI_File f;

    check(MPI_File_open(MPI_COMM_WORLD, argv[1], MPI_MODE_CREATE | MPI_MODE_RDWR, MPI_INFO_NULL, &f), "open");
    for (int i = 0; i < blocks; i++) {
        int b = i % 2;
        check(MPI_Wait(&request[b], &status), "wait");
        if (i >= 2) moved(&status, MPI_BYTE, BLOCK, "iwrite_at");
        MPI_Offset at = ((MPI_Offset)i * ranks + rank) * BLOCK;
        fill(buffer[b], at, BLOCK); /* the computing */
        check(MPI_File_iwrite_at(f, at, buffer[b], BLOCK, MPI_BYTE, &request[b]), "iwrite_at");
    }
    for (int b = 0; b < 2; b++) check(MPI_Wait(&request[b], MPI_STATUS_IGNORE), "wait");

    /* Many small ones at once. */
    MPI_Offset base = (MPI_Offset)blocks * ranks * BLOCK;
    for (int i = 0; i < 8; i++) {
        MPI_Offset at = base + ((MPI_Offset)i * ranks + rank) * SMALL;
        fill(small[i], at, SMALL);
        check(MPI_File_iwrite_at(f, at, small[i], SMALL / 4, MPI_INT, &some[i]), "iwrite_at");
    }
    check(MPI_Waitall(8, some, several), "waitall");
    for (int i = 0; i < 8; i++) moved(&several[i], MPI_INT, SMALL / 4, "small iwrite_at");
    publish(f);

    int other = (rank + 1) % ranks;
    for (int i = 0; i <= blocks; i++) {
        int b = i % 2;
        if (i < blocks) {
            MPI_Offset at = ((MPI_Offset)i * ranks + other) * BLOCK;
            check(MPI_File_iread_at(f, at, buffer[b], BLOCK, MPI_BYTE, &request[b]), "iread_at");
        }
        if (i > 0) {
            check(MPI_Wait(&request[!b], &status), "wait");
            moved(&status, MPI_BYTE, BLOCK, "iread_at");
            verify(buffer[!b], ((MPI_Offset)(i - 1) * ranks + other) * BLOCK, BLOCK, "iread_at");
        }
    }
    for (int i = 0; i < 8; i++) {
        MPI_Offset at = base + ((MPI_Offset)i * ranks + other) * SMALL;
        check(MPI_File_iread_at(f, at, small[i], SMALL, MPI_BYTE, &some[i]), "iread_at");
    }
    for (int left = 8, done; left > 0; left--) {
        check(MPI_Waitany(8, some, &done, &status), "waitany");
        moved(&status, MPI_BYTE, SMALL, "small iread_at");
        verify(small[done], base + ((MPI_Offset)done * ranks + other) * SMALL, SMALL, "small iread_at");
    }
    check(MPI_File_close(&f), "close");
    free(buffer[0]), free(buffer[1]);
    return end("overlap");
}
