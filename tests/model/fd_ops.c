/* The driver's operations on descriptors and names. */
#define _GNU_SOURCE
#include "driver.h"
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>

static int is(const char *a, const char *b) { return strcmp(a, b) == 0; }

static size_t clip(long len) { return len < 0 ? 0 : len > BIG ? BIG : (size_t)len; }

static unsigned char *blank(size_t len)
{
	memset(buffer, 0xee, len + 65536 < BIG ? len + 65536 : BIG);
	return buffer;
}

static unsigned char *filled(size_t len, long tag)
{
	fill(buffer, len, (uint64_t)tag);
	return buffer;
}

/* Cuts a buffer into pieces whose sizes follow from `seed`; some are empty. */
static int cut(struct iovec *iov, unsigned char *from, size_t len, long seed)
{
	int n = 0;
	uint32_t x = (uint32_t)seed * 747796405u + 1;
	while (len > 0 && n < 7) {
		x = x * 1664525u + 1013904223u;
		size_t piece = (x >> 28) == 0 ? 0 : (x >> 8) % (len + 1);
		if ((x >> 26) % 3 == 0 && piece > 64)
			piece = 64;
		iov[n++] = (struct iovec){ from, piece };
		from += piece;
		len -= piece;
	}
	iov[n++] = (struct iovec){ from, len };
	return n;
}

static void open_slot(const long *a)
{
	int *fd = &slot_fd[a[0] % SLOTS];
	if (*fd >= 0) {
		errno = QUIET;
		say_ret(close(*fd));
		*fd = -1;
	}
	errno = QUIET;
	const char *path = path_of(a[1]);
	switch (a[4] % 3) {
	case 0: *fd = open(path, (int)a[2], (mode_t)a[3]); break;
	case 1: *fd = openat(AT_FDCWD, path, (int)a[2], (mode_t)a[3]); break;
	default: *fd = open64(path, (int)a[2], (mode_t)a[3]); break;
	}
	say_ret(*fd);
}

static void dup_slot(const long *a)
{
	int from = need_fd(a[0]);
	int *to = &slot_fd[a[1] % SLOTS];
	int fd;
	errno = QUIET;
	if (*to >= 0)
		fd = a[2] % 2 ? dup2(from, *to) : from == *to ? from : dup3(from, *to, a[2] % 4 == 0 ? O_CLOEXEC : 0);
	else
		*to = fd = a[2] % 2 ? dup(from) : fcntl(from, F_DUPFD, 0);
	say_ret(fd);
}

static void say_stat(int ret, const struct stat *st)
{
	say_ret(ret);
	if (ret == 0)
		say("size=%lld mode=%o links=%ld", (long long)st->st_size, st->st_mode, (long)st->st_nlink);
}

/* Buffers at addresses that no program has: in the first page and in the kernel's half. What Iris copies it
 * touches itself, so any other bad address may be answered by SIGSEGV, as POSIX allows a library (XSH 2.3). */
static void bad_buffer(const long *a)
{
	int fd = need_fd(a[0]);
	size_t len = clip(a[2]);
	void *at = (void *)(a[1] < 3 ? 8ul : ~0ul << 47);
	errno = QUIET;
	switch (a[1]) {
	case 0: case 3: say_ret(pwrite(fd, at, len, 0)); break;
	case 1: case 4: say_ret(pread(fd, at, len, a[3])); break;
	/* Not behind the end: ext4 of some kernels then extends the file although it answers EFAULT. */
	case 2: say_ret(pwrite(fd, at, len, 0)); break;
	default: say_ret(read(fd, at, len)); break;
	}
}

static void splice_slots(const long *a)
{
	int out = need_fd(a[0]), in = need_fd(a[1]), ends[2];
	size_t len = clip(a[2]) > 60000 ? 60000 : clip(a[2]);
	if (pipe(ends) < 0) {
		say("no pipe");
		return;
	}
	errno = QUIET;
	ssize_t n = splice(in, NULL, ends[1], NULL, len, SPLICE_F_NONBLOCK);
	say_ret(n);
	if (n > 0) {
		errno = QUIET;
		ssize_t put = splice(ends[0], NULL, out, NULL, (size_t)n, SPLICE_F_NONBLOCK);
		say_ret(put);
	}
	close(ends[0]);
	close(ends[1]);
}

static void hash_file(const long *a)
{
	int fd = open(path_of(a[0]), O_RDONLY);
	say("open=%s ", fd < 0 ? strerror(errno) : "yes");
	if (fd < 0)
		return;
	size_t done = 0, len = clip(a[2]);
	blank(len);
	while (done < len) {
		ssize_t n = pread(fd, buffer + done, len - done, a[1] + (long)done);
		if (n < 0)
			say("errno=%d ", errno);
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	say_data(buffer, (long)done, len);
	say(" close=%d", close(fd));
}

static int run_io(const char *verb, const long *a)
{
	struct iovec iov[8];
	size_t len;
	int fd, n;
	ssize_t got;
	if (is(verb, "read")) {
		fd = need_fd(a[0]), len = clip(a[1]), blank(len), errno = QUIET;
		say_ret(got = read(fd, buffer, len)), say_data(buffer, got, len);
	} else if (is(verb, "write")) {
		fd = need_fd(a[0]), len = clip(a[1]), filled(len, a[2]), errno = QUIET;
		say_ret(write(fd, buffer, len));
	} else if (is(verb, "pread")) {
		fd = need_fd(a[0]), len = clip(a[1]), blank(len), errno = QUIET;
		say_ret(got = pread(fd, buffer, len, a[2])), say_data(buffer, got, len);
	} else if (is(verb, "pwrite")) {
		fd = need_fd(a[0]), len = clip(a[1]), filled(len, a[3]), errno = QUIET;
		say_ret(pwrite(fd, buffer, len, a[2]));
	} else if (is(verb, "readv")) {
		fd = need_fd(a[0]), len = clip(a[1]), n = cut(iov, blank(len), len, a[2]), errno = QUIET;
		say_ret(got = readv(fd, iov, n)), say_data(buffer, got, len);
	} else if (is(verb, "writev")) {
		fd = need_fd(a[0]), len = clip(a[1]), n = cut(iov, filled(len, a[3]), len, a[2]), errno = QUIET;
		say_ret(writev(fd, iov, n));
	} else if (is(verb, "preadv")) {
		fd = need_fd(a[0]), len = clip(a[1]), n = cut(iov, blank(len), len, a[2]), errno = QUIET;
		say_ret(got = a[4] < 0 ? preadv(fd, iov, n, a[3]) : preadv2(fd, iov, n, a[3], (int)a[4]));
		say_data(buffer, got, len);
	} else if (is(verb, "pwritev")) {
		fd = need_fd(a[0]), len = clip(a[1]), n = cut(iov, filled(len, a[5]), len, a[2]), errno = QUIET;
		say_ret(a[4] < 0 ? pwritev(fd, iov, n, a[3]) : pwritev2(fd, iov, n, a[3], (int)a[4]));
	} else if (is(verb, "lseek")) {
		fd = need_fd(a[0]), errno = QUIET, say_ret(lseek(fd, a[1], (int)a[2]));
	} else {
		return 0;
	}
	return 1;
}

static int run_change(const char *verb, const long *a)
{
	struct stat st;
	int fd;
	if (is(verb, "ftruncate")) {
		fd = need_fd(a[0]), errno = QUIET, say_ret(ftruncate(fd, a[1]));
	} else if (is(verb, "truncate")) {
		say_ret(truncate(path_of(a[0]), a[1]));
	} else if (is(verb, "fstat")) {
		fd = need_fd(a[0]), errno = QUIET, say_stat(fstat(fd, &st), &st);
	} else if (is(verb, "stat")) {
		say_stat(stat(path_of(a[0]), &st), &st);
	} else if (is(verb, "fallocate")) {
		fd = need_fd(a[0]), errno = QUIET, say_ret(fallocate(fd, (int)a[1], a[2], a[3]));
	} else if (is(verb, "fsync")) {
		fd = need_fd(a[0]), errno = QUIET;
		say_ret(a[1] == 0 ? fsync(fd) : a[1] == 1 ? fdatasync(fd) : syncfs(fd));
	} else if (is(verb, "setfl")) {
		fd = need_fd(a[0]), errno = QUIET, say_ret(fcntl(fd, F_SETFL, (int)a[1]));
		say("flags=%o", fcntl(fd, F_GETFL));
	} else if (is(verb, "fsize")) {
		struct rlimit limit;
		getrlimit(RLIMIT_FSIZE, &limit);
		limit.rlim_cur = a[0] < 0 ? limit.rlim_max : (rlim_t)a[0];
		say("ret=%d", setrlimit(RLIMIT_FSIZE, &limit));
	} else if (is(verb, "sendfile") || is(verb, "copyrange")) {
		int out = need_fd(a[0]), in = need_fd(a[1]);
		off64_t from = a[2], to = a[4], *pf = from < 0 ? NULL : &from, *pt = to < 0 ? NULL : &to;
		errno = QUIET;
		if (is(verb, "sendfile"))
			say_ret(sendfile(out, in, pf, clip(a[3])));
		else
			say_ret(copy_file_range(in, pf, out, pt, clip(a[3]), 0));
		say("offsets=%lld,%lld", (long long)from, (long long)to);
	} else {
		return 0;
	}
	return 1;
}

int run_fd(const char *verb, const long *a)
{
	if (run_io(verb, a) || run_change(verb, a))
		return 1;
	if (is(verb, "open")) {
		open_slot(a);
	} else if (is(verb, "close")) {
		int *fd = &slot_fd[a[0] % SLOTS];
		say_ret(close(*fd));
		*fd = -1;
	} else if (is(verb, "dup")) {
		dup_slot(a);
	} else if (is(verb, "bad")) {
		bad_buffer(a);
	} else if (is(verb, "splice")) {
		splice_slots(a);
	} else if (is(verb, "rename")) {
		say_ret(a[2] ? renameat2(AT_FDCWD, path_of(a[0]), AT_FDCWD, path_of(a[1]), (unsigned)a[2])
			     : rename(path_of(a[0]), path_of(a[1])));
	} else if (is(verb, "unlink")) {
		say_ret(unlink(path_of(a[0])));
	} else if (is(verb, "link")) {
		say_ret(link(path_of(a[0]), path_of(a[1])));
	} else if (is(verb, "hash")) {
		hash_file(a);
	} else {
		return 0;
	}
	return 1;
}
