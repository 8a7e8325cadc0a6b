/* The driver's operations on descriptor numbers: what a number stands for is exchanged, by each of the ways there are,
 * in this thread or in others, for a file of the directory or one outside. What follows on the slot must be about the
 * new file, whoever has used the number before. */
#define _GNU_SOURCE
#include "driver.h"
#include <fcntl.h>
#include <sys/syscall.h>

/* Ways to exchange. */
enum { CLOSE_AND_OPEN, DUP2, DUP3, CLOSE_AND_DUPFD, RAW_CLOSE, RANGE, BY_TURNS, DUP2_BY_ANOTHER, WAYS };

struct exchange {
	int slot, flags, way;
	const char *path;
};

static void take(struct exchange *x)
{
	errno = QUIET;
	say_ret(slot_fd[x->slot] = open(x->path, x->flags, 0644));
}

static void put_over(struct exchange *x)
{
	int number = slot_fd[x->slot];
	errno = QUIET;
	int other = open(x->path, x->flags, 0644);
	say_ret(other);
	if (other < 0)
		return;
	errno = QUIET;
	say_ret(x->way == DUP3 ? dup3(other, number, O_CLOEXEC) : dup2(other, number));
	errno = QUIET;
	say_ret(close(other));
}

static void give_up(void *with)
{
	struct exchange *x = with;
	int number = slot_fd[x->slot];
	slot_fd[x->slot] = -1;
	errno = QUIET;
	say_ret(x->way == RAW_CLOSE ? (int)syscall(SYS_close, number)
	        : x->way == RANGE   ? close_range((unsigned)number, (unsigned)number, 0)
				    : close(number));
}

static void exchange(void *with)
{
	struct exchange *x = with;
	int number = slot_fd[x->slot], other;
	switch (x->way) {
	case DUP2: case DUP3: case DUP2_BY_ANOTHER:
		put_over(x);
		break;
	case CLOSE_AND_DUPFD:
		errno = QUIET;
		say_ret(other = open(x->path, x->flags, 0644));
		if (other < 0)
			break;
		give_up(x);
		errno = QUIET;
		say_ret(slot_fd[x->slot] = fcntl(other, F_DUPFD, number));
		errno = QUIET;
		say_ret(close(other));
		break;
	case BY_TURNS:
		in_thread(give_up, x, 0);
		take(x);
		break;
	default:
		give_up(x);
		take(x);
	}
}

int run_numbers(const char *verb, const long *a)
{
	if (strcmp(verb, "reopen") != 0)
		return 0;
	need_fd(a[0]);
	struct exchange x = { (int)(a[0] % SLOTS), (int)a[2], (int)(a[3] % WAYS), path_anywhere(a[1]) };
	if (x.way == DUP2_BY_ANOTHER)
		in_thread(exchange, &x, 0);
	else
		exchange(&x);
	return 1;
}
