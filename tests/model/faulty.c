/* Libraries that are wrong on purpose, one fault each: proof that the random tests can fail. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

__attribute__((unused)) static int ours(int fd)
{
	struct stat st;
	int e = errno, yes = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
	errno = e;
	return yes;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#if defined(LOSE_WRITE) || defined(DROP_BYTE) || defined(LOSE_ON_KILL)
ssize_t pwrite(int fd, const void *from, size_t len, off_t at)
{
	static int count;
	if (!ours(fd) || len == 0)
		return REAL(pwrite)(fd, from, len, at);
#ifdef LOSE_WRITE
	/* Acknowledges what it loses, now and then. */
	if (++count % 5 == 0)
		return (ssize_t)len;
	return REAL(pwrite)(fd, from, len, at);
#elif defined(DROP_BYTE)
	/* The last byte of a write that ends in the middle of a page becomes zero. */
	if ((at + (off_t)len) % 4096 == 0 || len > 1000 || ++count % 2 != 0)
		return REAL(pwrite)(fd, from, len, at);
	char copy[1000];
	memcpy(copy, from, len);
	copy[len - 1] = 0;
	return REAL(pwrite)(fd, copy, len, at);
#else
	/* Keeps the last write in the process until the next one: gone after a kill. */
	static char *kept;
	static size_t kept_len;
	static off_t kept_at;
	static int kept_fd;
	(void)count;
	if (kept != NULL) {
		if (REAL(pwrite)(kept_fd, kept, kept_len, kept_at) < 0)
			return -1;
		free(kept);
	}
	kept = malloc(len);
	memcpy(kept, from, len);
	kept_len = len, kept_at = at, kept_fd = fd;
	return (ssize_t)len;
#endif
}

ssize_t pwrite64(int fd, const void *from, size_t len, off_t at) { return pwrite(fd, from, len, at); }
#endif

#ifdef STALE_SIZE
/* Remembers a size for the second look. */
int fstat(int fd, struct stat *st)
{
	static off_t last[1024];
	static ino_t inode[1024];
	int ret = REAL(fstat)(fd, st);
	if (ret == 0 && S_ISREG(st->st_mode) && fd < 1024) {
		off_t was = last[fd];
		if (inode[fd] == st->st_ino && was != 0 && st->st_size > was)
			st->st_size = was;
		last[fd] = st->st_size;
		inode[fd] = st->st_ino;
	}
	return ret;
}
int fstat64(int fd, struct stat64 *st) { return fstat(fd, (struct stat *)st); }
#endif

#ifdef TOUCH_ERRNO
ssize_t pread(int fd, void *to, size_t len, off_t at)
{
	ssize_t ret = REAL(pread)(fd, to, len, at);
	if (ret == 4096)
		errno = 0;
	return ret;
}
#endif

#ifdef SCRIBBLE
/* Uses the program's buffer for more than it returns. */
ssize_t read(int fd, void *to, size_t len)
{
	ssize_t ret = REAL(read)(fd, to, len);
	if (ret >= 0 && (size_t)ret < len && ours(fd))
		((char *)to)[ret] = 0;
	return ret;
}
#endif
