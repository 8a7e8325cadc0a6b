/* Pieces at scattered places of a file, as a checkpoint of small arrays makes them.
 *   writer FILE COUNT SIZE   writes piece I, I from 0 to COUNT - 1, at SIZE * (I * STRIDE % COUNT), in that order
 * Then it carries out one order a line: c closes, k dies, s syncs, w writes piece 0 again, o FILE writes another file in
 * the same way and closes it. Each answer is a line: the name of the error, or "done". */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STRIDE 7919

static long count, size;

static int piece(int fd, long i, int salt) {
    static char bytes[1 << 16];
    memset(bytes, (int)((i * 31 + salt) % 255 + 1), (size_t)size);
    return pwrite(fd, bytes, (size_t)size, (off_t)(size * (i * STRIDE % count))) == size ? 0 : -1;
}

static int all(int fd) {
    for (long i = 0; i < count; i++)
        if (piece(fd, i, 0)) return -1;
    return 0;
}

static void answer(int failed) {
    printf("%s\n", failed ? strerrorname_np(errno) : "done");
    fflush(stdout);
}

int main(int argc, char **argv) {
    char line[4096];
    if (argc != 4) return 2;
    count = atol(argv[2]);
    size = atol(argv[3]);
    int fd = open(argv[1], O_RDWR | O_CREAT, 0644);
    if (fd < 0) return 3;
    answer(all(fd));
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        if (line[0] == 'c') answer(close(fd));
        if (line[0] == 's') answer(fsync(fd));
        if (line[0] == 'w') answer(piece(fd, 0, 1));
        if (line[0] == 'k') raise(SIGKILL);
        if (line[0] == 'o') {
            int other = open(line + 2, O_RDWR | O_CREAT, 0644);
            answer(other < 0 || all(other) | close(other));
        }
    }
    return 0;
}
