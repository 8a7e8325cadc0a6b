/* The driver: reads operations from a socket, one a line, runs each and answers with one line.
 *
 *   driver SOCKET DIRECTORY INDEX RELATIVE               starts
 *   driver SOCKET DIRECTORY INDEX RELATIVE FD SLOT…      goes on after an exec of itself
 *
 * The socket lies outside every mount and keeps a high descriptor, so that the numbers of all others are those
 * of the script. */
#define _GNU_SOURCE
#include "driver.h"
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

int slot_fd[SLOTS];
unsigned char *buffer;

static const char *socket_path, *directory;
static int index_of_self, relative, control;
/* Whether the second thread runs the operations. */
static int second;
static char answer[4096];
static size_t answer_len;

static const char *const names[FILES] = { "f0", "f1", "f2", "d/f3", "g4", "d/g5" };

static void die(const char *what)
{
	fprintf(stderr, "driver: %s: %s\n", what, strerror(errno));
	_exit(99);
}

const char *path_of(long n)
{
	static char path[4][4200];
	static int turn;
	const char *name = names[(unsigned long)n % FILES];
	if (relative)
		return name;
	turn = (turn + 1) % 4;
	snprintf(path[turn], sizeof path[turn], "%s/%s", directory, name);
	return path[turn];
}

const char *path_anywhere(long n)
{
	static char path[4200];
	long k = n % (FILES + OUTSIDE);
	if (k < FILES)
		return path_of(k);
	/* Beside the socket. */
	int folder = (int)(strrchr(socket_path, '/') - socket_path);
	snprintf(path, sizeof path, "%.*s/outside/o%ld", folder, socket_path, k - FILES);
	return path;
}

int need_fd(long slot)
{
	int *fd = &slot_fd[(unsigned long)slot % SLOTS];
	if (*fd < 0) {
		*fd = open(path_of(slot % 3), O_RDWR | O_CREAT, 0644);
		say("opened=%d ", *fd);
	}
	return *fd;
}

void fill(unsigned char *to, size_t len, uint64_t tag)
{
	/* Never 0, so that a hole differs from everything that was written. */
	uint32_t x = (uint32_t)tag * 2654435761u + 12345;
	for (size_t i = 0; i < len; i++)
		to[i] = (unsigned char)(((x + (uint32_t)i * 40503u) >> 9) % 255 + 1);
}

uint64_t hash(const unsigned char *from, size_t len)
{
	uint64_t h = 0xcbf29ce484222325u ^ len;
	for (size_t i = 0; i < len; i++)
		h = (h ^ from[i]) * 0x100000001b3u;
	return h;
}

void say(const char *format, ...)
{
	va_list list;
	va_start(list, format);
	int n = vsnprintf(answer + answer_len, sizeof answer - answer_len, format, list);
	va_end(list);
	if (n > 0)
		answer_len += (size_t)n;
	if (answer_len >= sizeof answer)
		answer_len = sizeof answer - 1;
}

void say_ret(long ret)
{
	int e = errno;
	say("ret=%ld ", ret);
	if (ret < 0)
		say("errno=%d ", e);
	else if (e != QUIET)
		say("errno-touched=%d ", e);
}

void say_data(const unsigned char *from, long got, size_t asked)
{
	if (got < 0)
		return;
	say("hash=%016llx ", (unsigned long long)hash(from, (size_t)got));
	/* The ends in plain sight, for whoever reads a failure. */
	for (long i = 0; i < got && i < 6; i++)
		say("%02x", from[i]);
	if (got > 6) {
		say("..");
		for (long i = got - 6 < 6 ? 6 : got - 6; i < got; i++)
			say("%02x", from[i]);
	}
	for (size_t i = (size_t)got; i < asked && i < (size_t)got + 65536; i++)
		if (from[i] != 0xee) {
			say(" scribbled-behind=%zu", i - (size_t)got);
			break;
		}
}

static void connect_control(void)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	snprintf(to.sun_path, sizeof to.sun_path, "%s", socket_path);
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	if (s < 0 || connect(s, (struct sockaddr *)&to, sizeof to) < 0)
		die("connect");
	control = fcntl(s, F_DUPFD, 300 + index_of_self);
	if (control < 0)
		die("dup");
	close(s);
}

static void put(const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = send(control, text, len, MSG_NOSIGNAL);
		if (n <= 0)
			_exit(98);
		text += n;
		len -= (size_t)n;
	}
}

static void hello(void)
{
	char text[64];
	int n = snprintf(text, sizeof text, "hello %d %d\n", index_of_self, (int)getpid());
	put(text, (size_t)n);
}

static void get_line(char *line, size_t size)
{
	/* The controller waits for each answer, so nothing ever follows a line. */
	size_t have = 0;
	do {
		ssize_t n = recv(control, line + have, size - 1 - have, 0);
		if (n <= 0)
			_exit(0);
		have += (size_t)n;
	} while (line[have - 1] != '\n');
	line[have - 1] = 0;
}

/* A thread, and what it is to do next. */
struct worker {
	pthread_t thread;
	sem_t go, done;
	void (*what)(void *);
	void *with;
	pid_t pid;
};

static void *work(void *of)
{
	struct worker *w = of;
	do {
		while (sem_wait(&w->go) < 0)
			;
		w->what(w->with);
		sem_post(&w->done);
	} while (w->pid != 0);
	return NULL;
}

static void start(struct worker *w, pid_t pid)
{
	w->pid = pid;
	if (sem_init(&w->go, 0, 0) < 0 || sem_init(&w->done, 0, 0) < 0 || pthread_create(&w->thread, NULL, work, w) != 0)
		die("thread");
}

void in_thread(void (*what)(void *), void *with, int stays)
{
	static struct worker staying;
	struct worker passing, *w = stays ? &staying : &passing;
	/* A child has but the thread that forked. */
	if (!stays)
		start(w, 0);
	else if (w->pid != getpid())
		start(w, getpid());
	w->what = what, w->with = with;
	sem_post(&w->go);
	while (sem_wait(&w->done) < 0)
		;
	if (!stays)
		pthread_join(w->thread, NULL);
}

static void do_fork(long child)
{
	errno = QUIET;
	pid_t pid = fork();
	if (pid == 0) {
		int old = control;
		index_of_self = (int)child;
		connect_control();
		close(old);
		answer_len = 0;
		hello();
		return;
	}
	say("%s", pid > 0 ? "forked" : "fork failed");
}

static void do_exec(void)
{
	char fd[16], index[16], rel[4], slots[SLOTS][16];
	char *argv[6 + SLOTS + 1] = { "/proc/self/exe", (char *)socket_path, (char *)directory, index, rel, fd };
	snprintf(fd, sizeof fd, "%d", control);
	snprintf(index, sizeof index, "%d", index_of_self);
	snprintf(rel, sizeof rel, "%d", relative);
	for (int i = 0; i < SLOTS; i++) {
		snprintf(slots[i], sizeof slots[i], "%d", slot_fd[i]);
		argv[6 + i] = slots[i];
	}
	close_streams();
	execv("/proc/self/exe", argv);
	say("exec failed");
}

static void do_exit(long how)
{
	switch (how) {
	case 0: exit(0);
	case 1: _exit(0);
	case 2: kill(getpid(), SIGKILL); break;
	default: {
		/* What exit() itself must flush. */
		int fd = dup(need_fd(how));
		FILE *f = fd < 0 ? NULL : fdopen(fd, "r+");
		if (f != NULL && fseek(f, 0, SEEK_END) == 0)
			fprintf(f, "written by exit %ld\n", how);
		exit(0);
	}
	}
}

static void run_process(const char *verb, const long *a)
{
	if (!strcmp(verb, "fork"))
		do_fork(a[0]);
	else if (!strcmp(verb, "exec"))
		do_exec();
	else
		do_exit(a[0]);
}

/* One operation. */
struct order {
	const char *verb;
	long a[ARGS];
};

static void obey(void *with)
{
	const struct order *o = with;
	errno = QUIET;
	if (run_stdio(o->verb, o->a))
		return;
	settle_streams(-1);
	errno = QUIET;
	if (!strcmp(o->verb, "settle"))
		say("settled");
	else if (!run_fd(o->verb, o->a) && !run_numbers(o->verb, o->a) && !run_map(o->verb, o->a))
		say("unknown verb %s", o->verb);
}

static void run(char *line)
{
	struct order o = { .verb = strtok(line, " ") };
	char *word;
	for (int i = 0; i < ARGS && (word = strtok(NULL, " ")) != NULL; i++)
		o.a[i] = strtol(word, NULL, 10);
	if (o.verb == NULL)
		return;
	if (!strcmp(o.verb, "fork") || !strcmp(o.verb, "exec") || !strcmp(o.verb, "exit")) {
		settle_streams(-1);
		errno = QUIET;
		run_process(o.verb, o.a);
	} else if (!strcmp(o.verb, "thread")) {
		second = o.a[0] % 2 != 0;
		say("thread %d", second);
	} else if (second) {
		in_thread(obey, &o, 1);
	} else {
		obey(&o);
	}
}

int main(int argc, char **argv)
{
	if (argc < 5)
		die("usage: driver SOCKET DIRECTORY INDEX RELATIVE");
	socket_path = argv[1];
	directory = argv[2];
	index_of_self = atoi(argv[3]);
	relative = atoi(argv[4]);
	for (int i = 0; i < SLOTS; i++)
		slot_fd[i] = argc > 6 + i ? atoi(argv[6 + i]) : -1;
	signal(SIGCHLD, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	buffer = mmap(NULL, BIG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (buffer == MAP_FAILED)
		die("mmap");
	if (argc > 5) {
		control = atoi(argv[5]);
		for (int i = 0; i < SLOTS; i++)
			if (slot_fd[i] >= 0 && fcntl(slot_fd[i], F_GETFD) < 0)
				slot_fd[i] = -1;
		put("execed\n", 7);
	} else {
		if (relative && chdir(directory) < 0)
			die("chdir");
		connect_control();
		hello();
	}
	for (;;) {
		char line[512];
		get_line(line, sizeof line);
		answer_len = 0;
		run(line);
		if (answer_len > 0)
			put(answer, answer_len);
		else
			continue;
		put("\n", 1);
	}
}
