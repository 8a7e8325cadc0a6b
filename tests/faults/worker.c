/* A program whose circumstances turn bad. It says on standard output what each step gave, and verifies what it
 * reads; what it wrote can be computed by anybody (byte i of record n).
 *
 *   worker write FILE SIZE COUNT            records, fsync, close
 *   worker hold FILE SIZE COUNT             records; waits for a line; as many again, reads all, fsync, close
 *   worker scatter FILE SIZE COUNT          records in another order, each with a gap of its size behind it; close
 *   worker resync FILE SIZE COUNT           records, fsync; waits for a line; fsync, close
 *   worker check FILE SIZE COUNT            reads and verifies
 *   worker many FOLDER LIMIT COUNT          opens files up to a limit of descriptors, writes and reads each
 *   worker many-hold FOLDER LIMIT COUNT     waits for a line between writing and reading
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { LARGEST = 1 << 20 };

static unsigned char bytes[LARGEST], seen[LARGEST];

static void fill(size_t size, unsigned record)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = (unsigned char)((i * 31 + record * 7 + (i >> 8)) % 255 + 1);
}

static void say(const char *step, long ret)
{
	char line[128];
	int e = errno, n = snprintf(line, sizeof line, "%s %ld %d\n", step, ret, ret < 0 ? e : 0);
	if (write(1, line, (size_t)n) != n)
		_exit(9);
}

/* Writes records from `from` up to `to`; says how many were taken, and why no more. */
static unsigned put(int fd, size_t size, unsigned from, unsigned to)
{
	unsigned n = from;
	for (; n < to; n++) {
		fill(size, n);
		ssize_t w = write(fd, bytes, size);
		if (w != (ssize_t)size) {
			say("write", w < 0 ? -1 : w);
			break;
		}
	}
	say("written", (long)n);
	return n;
}

/* Record n lies at the place (n * 40503 % count), places twice as far apart as records are long. */
static void scatter(int fd, size_t size, unsigned count)
{
	unsigned n = 0;
	for (; n < count; n++) {
		fill(size, n);
		off_t at = (off_t)((size_t)n * 40503 % count * 2 * size);
		ssize_t w = pwrite(fd, bytes, size, at);
		if (w != (ssize_t)size) {
			say("pwrite", w < 0 ? -1 : w);
			break;
		}
	}
	say("written", (long)n);
}

static void verify(int fd, size_t size, unsigned count)
{
	unsigned n = 0;
	for (; n < count; n++) {
		fill(size, n);
		ssize_t r = pread(fd, seen, size, (off_t)n * (off_t)size);
		if (r != (ssize_t)size || memcmp(seen, bytes, size) != 0) {
			say("wrong record", (long)n);
			return;
		}
	}
	say("right", (long)n);
}

static void wait_for_line(void)
{
	char c;
	if (read(0, &c, 1) != 1)
		_exit(8);
}

static int many(const char *folder, unsigned limit, unsigned count, int hold)
{
	struct rlimit l = { limit, limit };
	say("limit", setrlimit(RLIMIT_NOFILE, &l));
	int fd[1024];
	char path[4096];
	unsigned opened = 0;
	for (; opened < count && opened < 1024; opened++) {
		snprintf(path, sizeof path, "%s/file%u", folder, opened);
		fd[opened] = open(path, O_RDWR | O_CREAT, 0644);
		if (fd[opened] < 0) {
			say("open", fd[opened]);
			break;
		}
		fill(300, opened);
		for (int k = 0; k < 20; k++)
			if (pwrite(fd[opened], bytes, 300, k * 300) != 300)
				say("write", -1);
	}
	say("opened", (long)opened);
	if (hold)
		wait_for_line();
	for (unsigned n = 0; n < opened; n++) {
		fill(300, n);
		for (int k = 0; k < 20; k++)
			if (pread(fd[n], seen, 300, k * 300) != 300 || memcmp(seen, bytes, 300) != 0)
				say("wrong file", (long)n);
		if (close(fd[n]) != 0)
			say("close", -1);
	}
	FILE *f = fopen(path, "a");
	say("fopen", f == NULL ? -1 : fileno(f));
	return f == NULL ? 0 : fclose(f);
}

int main(int argc, char **argv)
{
	if (argc < 5)
		return 3;
	size_t size = strtoul(argv[3], NULL, 10);
	unsigned count = (unsigned)atoi(argv[4]);
	if (!strcmp(argv[1], "many"))
		return many(argv[2], (unsigned)size, count, 0);
	if (!strcmp(argv[1], "many-hold"))
		return many(argv[2], (unsigned)size, count, 1);
	if (!strcmp(argv[1], "check")) {
		int fd = open(argv[2], O_RDONLY);
		if (fd < 0)
			say("open", fd);
		else
			verify(fd, size, count);
		return fd < 0 || close(fd) != 0;
	}
	int fd = open(argv[2], O_RDWR | O_CREAT, 0644);
	if (fd < 0) {
		say("open", fd);
		return 1;
	}
	if (!strcmp(argv[1], "scatter")) {
		scatter(fd, size, count);
		say("fsync", fsync(fd));
		say("close", close(fd));
		return 0;
	}
	unsigned n = put(fd, size, 0, count);
	if (!strcmp(argv[1], "hold")) {
		wait_for_line();
		n = put(fd, size, n, 2 * count);
		verify(fd, size, n);
	}
	if (!strcmp(argv[1], "resync")) {
		say("fsync", fsync(fd));
		wait_for_line();
		verify(fd, size, n);
		/* A background flush may have failed once more before there was space: that is told, once. */
		for (int i = 0; i < 2 && fsync(fd) != 0; i++)
			say("fsync", -1);
	}
	say("fsync", fsync(fd));
	say("close", close(fd));
	return 0;
}
