/* A library whose constructor opens and whose destructor writes: what libgfortran does with units left open. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fd = -1;
static FILE *stream;
static char name[4200];

void library_begin(const char *path)
{
    snprintf(name, sizeof name, "%s", path);
    fd = open(path, O_CREAT | O_RDWR | O_TRUNC, 0644);
    if (write(fd, "library begins, ", 16) != 16)
        _exit(71);
    char n[4300];
    snprintf(n, sizeof n, "%s.2", path);
    stream = fopen(n, "w");
    fputs("stream begins, ", stream);
}

__attribute__((destructor)) static void library_end(void)
{
    if (fd < 0)
        return;
    if (write(fd, "destructor writes, ", 19) != 19)
        _exit(72);
    if (pwrite(fd, "LIBRARY", 7, 0) != 7)
        _exit(73);
    fputs("destructor's stream", stream);
    char n[4300], b[20];
    snprintf(n, sizeof n, "%s.3", name);
    int f = open(n, O_CREAT | O_RDWR | O_TRUNC, 0644);
    if (write(f, "opened by destructor", 20) != 20 || pread(f, b, 20, 0) != 20 || memcmp(b, "opened by destructor", 20))
        _exit(74);
    if (lseek(fd, 0, SEEK_CUR) != 35)
        _exit(75);
    if (write(fd, "the end", 7) != 7)
        _exit(76);
}
