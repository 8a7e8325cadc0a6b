/* A deliberately broken library: it flips one bit of the third small write to a regular file, and of the third at an
 * offset. The harness must see it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int writes;

ssize_t write(int fd, const void *buf, size_t len)
{
    static ssize_t (*real)(int, const void *, size_t);
    if (!real)
        real = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    struct stat st;
    char copy[4096];
    if (len > 0 && len <= sizeof copy && !fstat(fd, &st) && S_ISREG(st.st_mode) && ++writes == 3) {
        memcpy(copy, buf, len);
        copy[len / 2] ^= 1;
        return real(fd, copy, len);
    }
    return real(fd, buf, len);
}

ssize_t pwrite(int fd, const void *buf, size_t len, off_t at)
{
    static int positional;
    static ssize_t (*real)(int, const void *, size_t, off_t);
    if (!real)
        real = (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");
    struct stat st;
    char copy[4096];
    if (len > 0 && len <= sizeof copy && !fstat(fd, &st) && S_ISREG(st.st_mode) && ++positional == 3) {
        memcpy(copy, buf, len);
        copy[len / 2] ^= 1;
        return real(fd, copy, len, at);
    }
    return real(fd, buf, len, at);
}
