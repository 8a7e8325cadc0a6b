/* The driver's operations on shared memory maps. */
#define _GNU_SOURCE
#include "driver.h"
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>

struct map {
	unsigned char *at;
	size_t len;
	int fd, writable;
	long offset;
};

static struct map maps[MAPS];
static sigjmp_buf landing;

static void on_bus(int signal)
{
	(void)signal;
	siglongjmp(landing, 1);
}

static void unmap(struct map *m)
{
	if (m->at != NULL) {
		munmap(m->at, m->len);
		close(m->fd);
	}
	m->at = NULL;
}

static void map(struct map *m, long slot, long offset, long len, int prot)
{
	unmap(m);
	int fd = need_fd(slot);
	/* The map keeps a descriptor of its own for the file's size; it comes and goes with the map. */
	int own = dup(fd);
	errno = QUIET;
	void *at = mmap(NULL, (size_t)len, prot, MAP_SHARED, fd, offset);
	if (at == MAP_FAILED) {
		int e = errno;
		if (own >= 0)
			close(own);
		errno = e;
		say_ret(-1);
		return;
	}
	say_ret(0);
	*m = (struct map){ at, (size_t)len, own, (prot & PROT_WRITE) != 0, offset };
}

/* Bytes of the file that a map may write: what lies behind the end of file in its last page is nobody's. */
static size_t within_file(const struct map *m, size_t off, size_t len)
{
	struct stat st;
	if (fstat(m->fd, &st) < 0 || st.st_size <= m->offset + (long)off)
		return 0;
	size_t left = (size_t)(st.st_size - m->offset) - off;
	return len < left ? len : left;
}

int run_map(const char *verb, const long *a)
{
	struct map *m = &maps[(unsigned long)a[0] % MAPS];
	int reads = !strcmp(verb, "mread"), writes = !strcmp(verb, "mwrite");
	if (!strcmp(verb, "mmap")) {
		map(m, a[1], a[2], a[3], (int)a[4]);
		return 1;
	}
	if (!strcmp(verb, "munmap")) {
		say("mapped=%d", m->at != NULL);
		unmap(m);
		return 1;
	}
	if (!strcmp(verb, "msync")) {
		if (m->at == NULL)
			say("unmapped");
		else
			say_ret(msync(m->at, m->len, a[1] ? MS_ASYNC : MS_SYNC));
		return 1;
	}
	if (!reads && !writes)
		return 0;
	if (m->at == NULL)
		map(m, a[0], 0, 65536, PROT_READ | PROT_WRITE);
	if (m->at == NULL)
		return 1;
	size_t off = (size_t)a[1] % m->len, len = (size_t)a[2] % (m->len - off + 1);
	if (writes && !m->writable) {
		say("readonly");
		return 1;
	}
	if (writes)
		len = within_file(m, off, len);
	memset(buffer, 0xee, len + 16);
	if (writes)
		fill(buffer, len, (uint64_t)a[3]);
	struct sigaction on = { .sa_handler = on_bus }, old;
	sigaction(SIGBUS, &on, &old);
	if (sigsetjmp(landing, 1) == 0) {
		if (writes)
			memcpy(m->at + off, buffer, len);
		else
			memcpy(buffer, m->at + off, len);
		say("len=%zu ", len);
		if (reads)
			say_data(buffer, (long)len, len);
	} else {
		say("SIGBUS");
	}
	sigaction(SIGBUS, &old, NULL);
	return 1;
}
