/* A library that is wrong on purpose: a write that fails for want of space is acknowledged and lost. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <unistd.h>

ssize_t write(int fd, const void *from, size_t len)
{
	ssize_t (*real)(int, const void *, size_t) = (__typeof__(real))dlsym(RTLD_NEXT, "write");
	ssize_t ret = real(fd, from, len);
	return ret < 0 && errno == ENOSPC ? (ssize_t)len : ret;
}
