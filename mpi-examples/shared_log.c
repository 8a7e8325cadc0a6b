/* A log that all ranks write through the shared file pointer. The order of the lines is whatever it was; that none is
 * lost, torn or doubled is checked. Afterwards each rank adds a line in the order of ranks.
 *   mpicc shared_log.c -o shared_log && mpirun -np 4 ./shared_log FILE [LINES] */
#include "example.h"

enum { LINE = 64 };

static void line_of(char *to, int whose, int number) {
    char text[LINE + 1];
    snprintf(text, sizeof text, "rank %04d says line %06d %*s\n", whose, number, LINE - 30, "");
    memcpy(to, text, LINE - 1);
    to[LINE - 1] = '\n';
}

int main(int argc, char **argv) {
    begin(&argc, &argv, 1, "shared_log FILE [LINES]");
    int lines = argc > 2 ? atoi(argv[2]) : 60;
    char line[LINE], want[LINE];
    MPI_Status status;
    MPI_File f;

    check(MPI_File_open(MPI_COMM_WORLD, argv[1], MPI_MODE_CREATE | MPI_MODE_RDWR, MPI_INFO_NULL, &f), "open");
    for (int i = 0; i < lines; i++) {
        line_of(line, rank, i);
        check(MPI_File_write_shared(f, line, LINE, MPI_CHAR, &status), "write_shared");
        moved(&status, MPI_CHAR, LINE, "write_shared");
    }
    MPI_Barrier(MPI_COMM_WORLD);
    for (int i = lines; i < lines + 3; i++) {
        line_of(line, rank, i);
        check(MPI_File_write_ordered(f, line, LINE, MPI_CHAR, &status), "write_ordered");
        moved(&status, MPI_CHAR, LINE, "write_ordered");
    }
    publish(f);

    /* Each line of each rank once, and those of one rank in its order. */
    MPI_Offset size;
    check(MPI_File_get_size(f, &size), "get_size");
    if (size != (MPI_Offset)(lines + 3) * ranks * LINE) {
        fprintf(stderr, "rank %d: the log has %lld bytes\n", rank, (long long)size);
        bad++;
    }
    int *next = calloc((size_t)ranks, sizeof *next);
    for (MPI_Offset at = 0; at < size; at += LINE) {
        int whose = -1;
        check(MPI_File_read_at(f, at, line, LINE, MPI_CHAR, &status), "read_at");
        if (sscanf(line, "rank %d", &whose) != 1 || whose < 0 || whose >= ranks) {
            fprintf(stderr, "rank %d: the line at %lld is %.20s\n", rank, (long long)at, line);
            bad++;
            continue;
        }
        line_of(want, whose, next[whose]++);
        bad += memcmp(line, want, LINE) != 0;
        if (at >= (MPI_Offset)lines * ranks * LINE) bad += whose != (int)(at / LINE) % ranks;
    }
    for (int i = 0; i < ranks; i++) bad += next[i] != lines + 3;
    free(next);
    check(MPI_File_close(&f), "close");
    return end("shared_log");
}
