/* The driver's operations on stdio streams.
 *
 * How much a stream holds back is nobody's promise (glibc's own buffer follows st_blksize), so a script may look
 * at a file from elsewhere only after the streams have been settled; and as the standard asks, a stream is
 * positioned between reading and writing. Everything else must agree to the byte. */
#define _GNU_SOURCE
#include "driver.h"
#include <fcntl.h>

enum doing { NOTHING, READING, WRITING };

static FILE *stream[STREAMS];
static enum doing doing[STREAMS];
static const char *const modes[] = { "r", "r+", "w", "w+", "a", "a+", "wx", "re", "w+e", "ab", "rb+" };

static void settle(int i)
{
	if (stream[i] != NULL && doing[i] != NOTHING && fflush(stream[i]) != 0)
		say("flush=%d ", errno);
	doing[i] = NOTHING;
}

void settle_streams(int but)
{
	for (int i = 0; i < STREAMS; i++)
		if (i != but)
			settle(i);
}

void close_streams(void)
{
	for (int i = 0; i < STREAMS; i++) {
		if (stream[i] != NULL)
			fclose(stream[i]);
		stream[i] = NULL;
	}
}

static FILE *turn(int i, enum doing what)
{
	if (stream[i] == NULL) {
		stream[i] = fopen(path_of(i), "r+");
		if (stream[i] == NULL)
			stream[i] = fopen(path_of(i), "w+");
		say("opened=%d ", stream[i] != NULL);
	}
	if (stream[i] != NULL && doing[i] != NOTHING && doing[i] != what)
		fseek(stream[i], 0, SEEK_CUR);
	doing[i] = what;
	return stream[i];
}

static void say_written(FILE *f, long ret)
{
	/* How much of a request was buffered before an error came is nobody's promise. */
	if (ferror(f))
		say("failed errno=%d", errno);
	else
		say("ret=%ld", ret);
}

static void say_state(FILE *f, long ret)
{
	int e = errno;
	say("ret=%ld eof=%d err=%d ", ret, feof(f) != 0, ferror(f) != 0);
	if (ferror(f))
		say("errno=%d ", e);
}

static void open_stream(int i, FILE *f)
{
	int e = errno;
	stream[i] = f;
	doing[i] = NOTHING;
	if (f == NULL)
		say("none errno=%d", e);
	else
		say("fd=%d", fileno(f));
}

static int run_open(const char *verb, int i, const long *a)
{
	const char *mode = modes[(unsigned long)a[2] % (sizeof modes / sizeof *modes)];
	if (!strcmp(verb, "fopen")) {
		if (stream[i] != NULL)
			say("closed=%d ", fclose(stream[i]));
		open_stream(i, fopen(path_of(a[1]), mode));
		if (stream[i] != NULL && a[3] != 0)
			say(" setvbuf=%d", setvbuf(stream[i], NULL, a[3] == 1 ? _IOFBF : a[3] == 2 ? _IOLBF : _IONBF,
						   a[3] == 1 ? 100 : 4096));
	} else if (!strcmp(verb, "freopen")) {
		FILE *f = turn(i, NOTHING);
		if (f != NULL)
			open_stream(i, freopen(path_of(a[1]), mode, f));
	} else if (!strcmp(verb, "fdopen")) {
		if (stream[i] != NULL)
			say("closed=%d ", fclose(stream[i]));
		int fd = dup(need_fd(a[1]));
		FILE *f = fdopen(fd, mode);
		if (f == NULL) {
			int e = errno;
			close(fd);
			errno = e;
		}
		open_stream(i, f);
	} else if (!strcmp(verb, "fclose")) {
		if (stream[i] == NULL)
			say("none");
		else
			say("closed=%d", fclose(stream[i]));
		stream[i] = NULL;
		doing[i] = NOTHING;
	} else {
		return 0;
	}
	return 1;
}

static int run_write(const char *verb, int i, const long *a)
{
	size_t len = a[1] < 0 ? 0 : a[1] > BIG ? BIG : (size_t)a[1];
	FILE *f;
	if (!strcmp(verb, "fwrite")) {
		if ((f = turn(i, WRITING)) == NULL)
			return 1;
		fill(buffer, len, (uint64_t)a[2]);
		say_written(f, (long)fwrite(buffer, 1, len, f));
	} else if (!strcmp(verb, "fprintf")) {
		if ((f = turn(i, WRITING)) == NULL)
			return 1;
		say_written(f, fprintf(f, "%ld %08lx and %.3f\n", a[1], (unsigned long)a[1] * 77, (double)a[1] / 7));
	} else if (!strcmp(verb, "fputc")) {
		if ((f = turn(i, WRITING)) == NULL)
			return 1;
		say_written(f, fputc((int)(a[1] % 255 + 1), f));
	} else {
		return 0;
	}
	/* A stream that cannot be written keeps what it could not write; that must not weigh on what follows. */
	if (ferror(f))
		clearerr(f);
	return 1;
}

static int run_read(const char *verb, int i, const long *a)
{
	size_t len = a[1] < 0 ? 0 : a[1] > BIG ? BIG : (size_t)a[1];
	FILE *f;
	if (!strcmp(verb, "fread")) {
		if ((f = turn(i, READING)) == NULL)
			return 1;
		long got = (long)fread(buffer, 1, len, f);
		say_state(f, got);
		say_data(buffer, got, (size_t)got);
	} else if (!strcmp(verb, "fgets")) {
		if ((f = turn(i, READING)) == NULL)
			return 1;
		int room = (int)(a[1] % 5000) + 2;
		memset(buffer, 0, (size_t)room);
		char *line = fgets((char *)buffer, room, f);
		say_state(f, line == NULL ? -1 : (long)strlen(line));
		say_data(buffer, room, (size_t)room);
	} else if (!strcmp(verb, "fgetc")) {
		if ((f = turn(i, READING)) == NULL)
			return 1;
		say_state(f, fgetc(f));
	} else if (!strcmp(verb, "ungetc")) {
		if ((f = turn(i, READING)) == NULL)
			return 1;
		/* One byte back after one byte read: more is not promised. */
		int c = fgetc(f);
		if (c != EOF)
			say_state(f, ungetc((int)(a[1] % 255 + 1), f));
		else
			say_state(f, EOF);
		say("then=%d", fgetc(f));
	} else {
		return 0;
	}
	if (ferror(f) || feof(f))
		clearerr(f);
	return 1;
}

int run_stdio(const char *verb, const long *a)
{
	if (*verb != 'f' && strcmp(verb, "ungetc") != 0)
		return 0;
	static const char *const own[] = { "fopen", "fdopen", "freopen", "fclose", "fwrite", "fprintf", "fputc", "fread",
					   "fgets", "fgetc", "ungetc", "fseek", "ftell", "fflush" };
	size_t k = 0;
	while (k < sizeof own / sizeof *own && strcmp(own[k], verb) != 0)
		k++;
	if (k == sizeof own / sizeof *own)
		return 0;
	int i = (int)((unsigned long)a[0] % STREAMS);
	settle_streams(i);
	errno = QUIET;
	if (run_open(verb, i, a) || run_write(verb, i, a) || run_read(verb, i, a))
		return 1;
	if (stream[i] == NULL) {
		say("none");
	} else if (!strcmp(verb, "fseek")) {
		long ret = fseek(stream[i], a[1], (int)a[2]);
		int e = errno;
		say("ret=%ld errno=%d", ret, ret < 0 ? e : 0);
		/* A seek within what has been read ahead keeps it. */
		doing[i] = READING;
	} else if (!strcmp(verb, "ftell")) {
		say("ret=%ld", ftell(stream[i]));
	} else {
		say("ret=%d", fflush(stream[i]));
		doing[i] = NOTHING;
	}
	return 1;
}
