/* Ranks share a file; after some rounds that end in a sync the last rank writes on and is killed in the middle, and
 * the launcher ends the others wherever they are. What must be there afterwards: every round, and every record of the
 * last rank. Records hold what belongs at their place (example.h), so the test can tell by the file alone.
 *   mpi_killed FILE ROUNDS RECORDS: records of 100 bytes in a round of a rank. The rounds lie one behind the other,
 *   the ranks' records in each take turns; the last rank's further records lie behind the rounds. */
#include "../mpi-examples/example.h"
#include <signal.h>

enum { RECORD = 100 };

static void put(MPI_File f, MPI_Offset at) {
    unsigned char record[RECORD];
    fill(record, at, RECORD);
    check(MPI_File_write_at(f, at, record, RECORD, MPI_BYTE, MPI_STATUS_IGNORE), "write_at");
}

int main(int argc, char **argv) {
    begin(&argc, &argv, 3, "mpi_killed FILE ROUNDS RECORDS");
    int rounds = atoi(argv[2]), records = atoi(argv[3]);
    MPI_File f;
    check(MPI_File_open(MPI_COMM_WORLD, argv[1], MPI_MODE_CREATE | MPI_MODE_RDWR, MPI_INFO_NULL, &f), "open");
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < records; i++)
            put(f, (((MPI_Offset)round * records + i) * ranks + rank) * RECORD);
        publish(f);
    }
    MPI_Offset behind = (MPI_Offset)rounds * records * ranks;
    if (rank == ranks - 1) {
        for (int i = 0; i < records; i++) put(f, (behind + i) * RECORD);
        raise(SIGKILL);
    }
    /* The others write the same bytes over and over until they are ended. */
    for (;;)
        for (int i = 0; i < records; i++) put(f, ((MPI_Offset)i * ranks + rank) * RECORD);
}
