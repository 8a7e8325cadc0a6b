/* What the files of the driver share: the slots on which operations work, and the way an answer is built.
 * One driver is one process of a script; it does what it is told, one line at a time, and says what happened. */
#ifndef DRIVER_H
#define DRIVER_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { SLOTS = 4, STREAMS = 3, MAPS = 2, FILES = 6, OUTSIDE = 2, ARGS = 8, BIG = 3 << 20, QUIET = 4242 };

/* Descriptors, -1 where a slot is empty. */
extern int slot_fd[SLOTS];
/* A buffer of BIG bytes, page-aligned. */
extern unsigned char *buffer;

/* The path of file number n, absolute or relative as this process was told. */
const char *path_of(long n);
/* The same, and from FILES on one of the files outside the directory, which the kernel alone serves. */
const char *path_anywhere(long n);
/* The descriptor in a slot; an empty slot is opened first, so that any operation makes sense on any state. */
int need_fd(long slot);
void fill(unsigned char *to, size_t len, uint64_t tag);
uint64_t hash(const unsigned char *from, size_t len);

/* Appends to the answer. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Says a call's return value and errno. errno was set to QUIET before: a call that succeeds must leave it. */
void say_ret(long ret);
/* Says what arrived in a buffer of `asked` bytes, and whether anything was written behind it. */
void say_data(const unsigned char *from, long got, size_t asked);

/* Each runs one operation if it knows the verb, and says whether it did. */
int run_fd(const char *verb, const long *a);
int run_numbers(const char *verb, const long *a);
int run_map(const char *verb, const long *a);
int run_stdio(const char *verb, const long *a);
/* Makes every stream's state equal to its descriptor's, except that of stream `but`. */
void settle_streams(int but);
void close_streams(void);
/* Runs `what` in another thread and waits until it is done: in one that stays (`stays`), or in one that ends then. */
void in_thread(void (*what)(void *), void *with, int stays);

#endif
