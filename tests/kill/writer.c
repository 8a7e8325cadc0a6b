/* A writer that is going to be killed. Each operation is written into a log outside every mount before it begins
 * and counted there when it has returned, so that whoever comes later knows what must be in the files.
 *
 *   writer FOLDER LOG SEED OPS ARMED      waits for a byte on standard input, then works
 *
 * Just before operation ARMED it traps (int3) into the debugger that is to step it to its death; the end of the
 * program counts as operation OPS. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPS = 4000, LARGEST = 300 << 10 };
enum kind { PWRITE, APPEND, FTRUNCATE, FSYNC, CREATE, FILL, FSYNC_NEW, CLOSE_NEW, RENAME, REOPEN, TRUNCATE, CUT, WAIT };

struct log {
	_Atomic uint64_t issued, returned;
	struct {
		uint64_t kind, at, len, tag;
	} op[OPS];
};

static struct log *shared;
static uint64_t state;
static long armed;
static unsigned char *bytes;
static int data, appended, fresh = -1;

static void fail(const char *what)
{
	fprintf(stderr, "writer: %s: %s\n", what, strerror(errno));
	_exit(2);
}

static uint64_t next(void)
{
	uint64_t x = state += 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

static uint64_t below(uint64_t n) { return next() % n; }

static void fill(size_t len, uint64_t tag)
{
	uint32_t x = (uint32_t)tag * 2654435761u + 12345;
	for (size_t i = 0; i < len; i++)
		bytes[i] = (unsigned char)(((x + (uint32_t)i * 40503u) >> 9) % 255 + 1);
}

static void trap(uint64_t n)
{
	if ((long)n == armed)
		raise(SIGTRAP);
}

static void begin(enum kind kind, uint64_t at, uint64_t len, uint64_t tag)
{
	uint64_t n = atomic_load(&shared->issued);
	if (n >= OPS)
		exit(0);
	shared->op[n].kind = kind, shared->op[n].at = at, shared->op[n].len = len, shared->op[n].tag = tag;
	atomic_store(&shared->issued, n + 1);
	trap(n);
}

static void done(int right, const char *what)
{
	if (!right)
		fail(what);
	atomic_fetch_add(&shared->returned, 1);
}

static uint64_t length(void)
{
	uint64_t kind = below(20);
	if (kind < 12)
		return 1 + below(200);
	if (kind < 17)
		return 1 + below(9000);
	return kind < 19 ? 60000 + below(10000) : 1 + below(LARGEST);
}

static uint64_t where(void)
{
	static const uint64_t edges[] = { 0, 4000, 65500, 262000, 524200 };
	return below(3) == 0 ? below(600000) : edges[below(5)] + below(200);
}

/* A new version of a file put into the old one's place, as editors and databases do. */
static void replace(void)
{
	begin(CREATE, 0, 0, 0);
	fresh = open("new", O_WRONLY | O_CREAT | O_TRUNC, 0644);
	done(fresh >= 0, "create");
	uint64_t pieces = 1 + below(6), at = 0;
	for (uint64_t i = 0; i < pieces; i++) {
		uint64_t len = below(4) ? 1 + below(3000) : length(), tag = next() >> 40;
		fill(len, tag);
		begin(FILL, at, len, tag);
		done(write(fresh, bytes, len) == (ssize_t)len, "write");
		at += len;
	}
	if (below(2)) {
		begin(FSYNC_NEW, 0, 0, 0);
		done(fsync(fresh) == 0, "fsync");
	}
	int early = below(2) != 0;
	if (early) {
		begin(CLOSE_NEW, 0, 0, 0);
		done(close(fresh) == 0, "close");
	}
	begin(RENAME, 0, 0, 0);
	done(rename("new", "target") == 0, "rename");
	if (!early) {
		begin(CLOSE_NEW, 0, 0, 0);
		done(close(fresh) == 0, "close");
	}
}

static void one(void)
{
	uint64_t what = below(100), len = length(), at = where(), tag = next() >> 40;
	fill(len, tag);
	if (what < 45) {
		begin(PWRITE, at, len, tag);
		if (what < 10) {
			struct iovec iov[2] = { { bytes, len / 3 }, { bytes + len / 3, len - len / 3 } };
			done(pwritev(data, iov, 2, (off_t)at) == (ssize_t)len, "pwritev");
		} else {
			done(pwrite(data, bytes, len, (off_t)at) == (ssize_t)len, "pwrite");
		}
	} else if (what < 70) {
		begin(APPEND, 0, len, tag);
		done(write(appended, bytes, len) == (ssize_t)len, "append");
	} else if (what < 76) {
		begin(FTRUNCATE, at, 0, 0);
		done(ftruncate(data, (off_t)at) == 0, "ftruncate");
	} else if (what < 78) {
		begin(TRUNCATE, at, 0, 0);
		done(truncate("data", (off_t)at) == 0, "truncate");
	} else if (what < 80) {
		begin(CUT, 0, 0, 0);
		done(ftruncate(appended, 0) == 0, "ftruncate");
	} else if (what < 84) {
		begin(FSYNC, 0, 0, 0);
		done(fsync(data) == 0, "fsync");
	} else if (what < 88) {
		begin(REOPEN, 0, 0, 0);
		int right = close(data) == 0;
		data = open("data", O_RDWR);
		done(right && data >= 0, "reopen");
	} else if (what < 92) {
		/* Time for whoever flushes in the background. */
		begin(WAIT, 0, 0, 0);
		usleep((useconds_t)below(3000));
		done(1, "");
	} else {
		replace();
	}
}

int main(int argc, char **argv)
{
	if (argc < 6 || chdir(argv[1]) != 0)
		fail("usage: writer FOLDER LOG SEED OPS ARMED");
	int log = open(argv[2], O_RDWR | O_CREAT, 0600);
	if (log < 0 || ftruncate(log, sizeof(struct log)) != 0)
		fail("log");
	shared = mmap(NULL, sizeof(struct log), PROT_READ | PROT_WRITE, MAP_SHARED, log, 0);
	if (shared == MAP_FAILED)
		fail("log");
	close(log);
	state = strtoull(argv[3], NULL, 10);
	uint64_t ops = strtoull(argv[4], NULL, 10);
	armed = atol(argv[5]);
	bytes = malloc(LARGEST + 16);
	char go;
	if (read(0, &go, 1) != 1)
		fail("nobody said go");
	data = open("data", O_RDWR | O_CREAT, 0644);
	appended = open("appended", O_WRONLY | O_CREAT | O_APPEND, 0644);
	if (data < 0 || appended < 0)
		fail("open");
	while (atomic_load(&shared->issued) < ops)
		one();
	if (armed >= (long)ops)
		raise(SIGTRAP);
	return 0;
}
