/* Several processes on one file at the same time, each operation recorded in a log outside every mount, so that
 * somebody else can judge afterwards whether what was read is what some legal order of the writes explains. The
 * log is shared memory: it survives a killed process, whose last record then has no end.
 *
 *   register MODE FILE LOG SEED WORKERS OPS            runs the workers and waits for them
 *   register MODE FILE LOG SEED -INDEX OPS [FD]        is one worker
 *   register dump FILE LOG 0 0 0                       writes the file to standard output
 *
 * With REGISTER_ARMED=N in the environment worker 0 waits until `released` is set in the log, and traps just before
 * its operation N, for the debugger that steps it to its death.
 *
 * Modes: history (overlapping words), append, disjoint (interleaved byte ranges). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS = 8, OPS = 4096, VALUES = 1 << 20, SPAN = 400 << 10, WORDS = SPAN / 8, SHADOW = 1 << 20 };
enum kind { NONE, WRITE, READ, APPEND, SYNC };

struct record {
	_Atomic uint64_t start, end;
	uint32_t kind, word, words, got;
	/* For a read: how many words came, and where its values are; for an append: where the record ended. */
	uint64_t at;
};

struct worker {
	_Atomic uint64_t records, values;
	_Atomic int32_t pid;
	uint32_t pad;
	struct record record[OPS];
	uint64_t value[VALUES];
};

struct log {
	_Atomic uint64_t clock, go, workers, released;
	uint64_t pad[508];
	struct worker worker[WORKERS];
	unsigned char shadow[SHADOW];
};

static struct log *shared;
/* One worker is a process or a thread. */
static __thread struct worker *self;
static __thread int me;
static __thread long armed = -1;
static __thread uint64_t state;
static __thread uint64_t *words;
static const char *path;

static void fail(const char *what, long detail)
{
	fprintf(stderr, "register: worker %d: %s (%ld): %s\n", me, what, detail, strerror(errno));
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

/* Who wrote it, in which operation, and for which place: a word that is torn or went astray says so. */
static uint64_t value(uint64_t op, uint64_t word)
{
	uint32_t low = (uint32_t)(word * 2654435761u) ^ (uint32_t)(op * 40503u) ^ (uint32_t)me * 0x01000193u;
	return (uint64_t)(me + 1) << 56 | op << 32 | low;
}

static struct record *begin(enum kind kind, uint32_t word, uint32_t count)
{
	uint64_t n = atomic_load(&self->records);
	if (n >= OPS)
		return NULL;
	struct record *r = &self->record[n];
	r->kind = kind, r->word = word, r->words = count;
	atomic_store(&self->records, n + 1);
	atomic_store(&r->start, atomic_fetch_add(&shared->clock, 1) + 1);
	if ((long)n == armed)
		raise(SIGTRAP);
	return r;
}

static void done(struct record *r) { atomic_store(&r->end, atomic_fetch_add(&shared->clock, 1) + 1); }

/* Small requests in a few crowded places, large ones everywhere. */
static void place(uint32_t *word, uint32_t *count)
{
	static const uint32_t crowds[] = { 0, 65536 / 8 - 40, (256 << 10) / 8 - 50, 4096 / 8 - 8, WORDS - 100 };
	uint64_t kind = below(20);
	if (kind < 16) {
		*count = 1 + (uint32_t)below(kind < 10 ? 16 : 80);
		*word = crowds[below(5)] + (uint32_t)below(20);
	} else if (kind < 19) {
		*count = 1 + (uint32_t)below(1200);
		*word = (uint32_t)below(WORDS - *count);
	} else {
		*count = 8100 + (uint32_t)below(6000);
		*word = (uint32_t)below(WORDS - *count);
	}
	if (*word + *count > WORDS)
		*count = WORDS - *word;
}

static void put(int fd, int own, const void *from, size_t len, off_t at)
{
	ssize_t n;
	uint64_t how = below(4);
	if (own && how == 0) {
		if (lseek(fd, at, SEEK_SET) != at)
			fail("lseek", at);
		n = write(fd, from, len);
	} else if (how == 1) {
		size_t cut = len / 16 * 8;
		struct iovec iov[2] = { { (void *)from, cut }, { (char *)from + cut, len - cut } };
		n = pwritev(fd, iov, 2, at);
	} else {
		n = pwrite(fd, from, len, at);
	}
	if (n != (ssize_t)len)
		fail("write", n);
}

static void history(int fd, int own, int ops)
{
	for (int i = 0; i < ops; i++) {
		uint32_t word, count;
		place(&word, &count);
		uint64_t what = below(100);
		if (what < 50) {
			uint64_t op = atomic_load(&self->records);
			for (uint32_t k = 0; k < count; k++)
				words[k] = value(op, word + k);
			struct record *r = begin(WRITE, word, count);
			if (r == NULL)
				return;
			put(fd, own, words, count * 8ul, word * 8l);
			done(r);
		} else if (what < 96) {
			uint64_t at = atomic_load(&self->values);
			if (at + count > VALUES)
				return;
			struct record *r = begin(READ, word, count);
			if (r == NULL)
				return;
			memset(words, 0, count * 8ul);
			ssize_t n = pread(fd, words, count * 8ul, word * 8l);
			if (n < 0)
				fail("read", n);
			memcpy(self->value + at, words, count * 8ul);
			r->at = at, r->got = (uint32_t)(n / 8);
			atomic_store(&self->values, at + count);
			done(r);
		} else if (what < 98) {
			struct record *r = begin(SYNC, 0, 0);
			if (r == NULL)
				return;
			if (fsync(fd) != 0)
				fail("fsync", 0);
			done(r);
		} else if (own) {
			if (close(fd) != 0)
				fail("close", 0);
			if ((fd = open(path, O_RDWR)) < 0)
				fail("reopen", 0);
		}
	}
}

static void append(int ops)
{
	int fd = open(path, O_RDWR | O_APPEND);
	if (fd < 0)
		fail("open", 0);
	for (int i = 0; i < ops; i++) {
		uint32_t count = 1 + (uint32_t)below(below(10) == 0 ? 12000 : 60);
		uint64_t op = atomic_load(&self->records);
		for (uint32_t k = 0; k < count; k++)
			words[k] = value(op, k);
		struct record *r = begin(APPEND, 0, count);
		if (r == NULL)
			return;
		if (write(fd, words, count * 8ul) != (ssize_t)(count * 8ul))
			fail("append", (long)count);
		done(r);
		off_t end = lseek(fd, 0, SEEK_CUR);
		if (end < (off_t)(count * 8ul))
			fail("offset after an append", end);
		r->at = (uint64_t)end;
		memset(words, 0, count * 8ul);
		if (pread(fd, words, count * 8ul, end - (off_t)(count * 8ul)) != (ssize_t)(count * 8ul))
			fail("own record is cut short", end);
		for (uint32_t k = 0; k < count; k++)
			if (words[k] != value(op, k))
				fail("own record reads otherwise", (long)k);
		if (below(30) == 0 && fsync(fd) != 0)
			fail("fsync", 0);
	}
	if (close(fd) != 0)
		fail("close", 0);
}

static void disjoint(int fd, int own, int ops, int workers, size_t stripe)
{
	unsigned char *bytes = (unsigned char *)words;
	size_t stripes = SHADOW / stripe / (size_t)workers;
	for (int i = 0; i < ops; i++) {
		size_t at = (below(stripes) * (size_t)workers + (size_t)me) * stripe;
		size_t from = below(stripe), len = 1 + below(stripe - from);
		at += from;
		if (below(2)) {
			for (size_t k = 0; k < len; k++)
				bytes[k] = (unsigned char)(next() % 255 + 1);
			put(fd, own, bytes, len, (off_t)at);
			memcpy(shared->shadow + at, bytes, len);
		} else {
			memset(bytes, 0, len);
			if (pread(fd, bytes, len, (off_t)at) < 0)
				fail("read", 0);
			for (size_t k = 0; k < len; k++)
				if (bytes[k] != shared->shadow[at + k])
					fail("own bytes read otherwise at", (long)(at + k));
		}
	}
}

static int work(const char *mode, int fd, int ops, uint64_t seed)
{
	self = &shared->worker[me];
	state = seed * 1000003u + (uint64_t)me;
	atomic_store(&self->pid, (int32_t)getpid());
	words = malloc(20000 * 8);
	int own = fd < 0;
	if (own && (fd = open(path, O_RDWR)) < 0)
		fail("open", 0);
	while (!atomic_load(&shared->go))
		usleep(100);
	if (me == 0 && getenv("REGISTER_ARMED") != NULL) {
		armed = atol(getenv("REGISTER_ARMED"));
		while (!atomic_load(&shared->released))
			usleep(100);
	}
	if (!strcmp(mode, "append"))
		append(ops);
	else if (!strcmp(mode, "disjoint"))
		disjoint(fd, own, ops, (int)atomic_load(&shared->workers), (size_t[]){ 100, 517, 4096, 70000 }[seed / 4 % 4]);
	else
		history(fd, own, ops);
	return 0;
}

struct thread {
	pthread_t id;
	const char *mode;
	int me, fd, ops;
	uint64_t seed;
};

static void *run_thread(void *arg)
{
	const struct thread *t = arg;
	me = t->me;
	work(t->mode, t->fd, t->ops, t->seed);
	return NULL;
}

static int dump(void)
{
	static char bytes[1 << 16];
	int fd = open(path, O_RDONLY);
	ssize_t n;
	if (fd < 0)
		fail("open", 0);
	while ((n = read(fd, bytes, sizeof bytes)) > 0)
		for (ssize_t put = 0; put < n;) {
			ssize_t k = write(1, bytes + put, (size_t)(n - put));
			if (k <= 0)
				fail("stdout", k);
			put += k;
		}
	if (n < 0)
		fail("read", n);
	return close(fd) == 0 ? 0 : 2;
}

int main(int argc, char **argv)
{
	if (argc < 7)
		return 3;
	path = argv[2];
	if (!strcmp(argv[1], "dump"))
		return dump();
	int log = open(argv[3], O_RDWR | O_CREAT, 0600);
	if (log < 0 || ftruncate(log, sizeof(struct log)) != 0)
		fail("log", 0);
	shared = mmap(NULL, sizeof(struct log), PROT_READ | PROT_WRITE, MAP_SHARED, log, 0);
	if (shared == MAP_FAILED)
		fail("log", 1);
	close(log);
	uint64_t seed = strtoull(argv[4], NULL, 10);
	int workers = atoi(argv[5]), ops = atoi(argv[6]);
	if (argc > 7 || workers < 0) {
		me = -workers - 1;
		return work(argv[1], argc > 7 ? atoi(argv[7]) : -1, ops, seed);
	}
	int fd = open(path, O_RDWR | O_CREAT, 0644);
	if (fd < 0)
		fail("create", 0);
	atomic_store(&shared->workers, (uint64_t)workers);
	struct thread threads[WORKERS];
	int running = 0;
	for (int i = 0; i < workers; i++) {
		if (i % 4 == 3 || fork() != 0)
			continue;
		me = i;
		/* In turn: a descriptor of its own, the inherited one, one of its own in another program, a thread. */
		if (i % 4 == 1)
			_exit(work(argv[1], fd, ops, seed));
		if (i % 4 == 0)
			_exit(work(argv[1], -1, ops, seed));
		char number[16];
		snprintf(number, sizeof number, "%d", -i - 1);
		execl("/proc/self/exe", argv[0], argv[1], argv[2], argv[3], argv[4], number, argv[6], NULL);
		fail("exec", 0);
	}
	/* Every fourth is a thread of this process; started last, since forking among threads is another subject. */
	for (int i = 3; i < workers; i += 4) {
		threads[running] = (struct thread){ 0, argv[1], i, i & 4 ? fd : -1, ops, seed };
		if (pthread_create(&threads[running].id, NULL, run_thread, &threads[running]) != 0)
			fail("thread", i);
		running++;
	}
	atomic_store(&shared->go, 1);
	int status, worst = 0;
	for (int i = 0; i < running; i++)
		pthread_join(threads[i].id, NULL);
	while (wait(&status) > 0)
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
			worst = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	if (close(fd) != 0)
		fail("close", 0);
	return worst;
}
