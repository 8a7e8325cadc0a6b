/* What every differential program shares: it prints each call's value and error by name, and hashes large data.
 * Everything goes to descriptor 1 with write(2) at once, so that forks and crashes never duplicate or lose a line.
 * A program may print nothing that differs between two equal directories: no paths, times, inodes or pids. */
#ifndef IRIS_COMMON_H
#define IRIS_COMMON_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *D = "."; /* the directory under test */

static inline void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static inline void say(const char *fmt, ...)
{
    char line[4096];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (n < 0)
        abort();
    if ((size_t)n >= sizeof line)
        n = sizeof line - 1;
    for (int done = 0; done < n;) {
        ssize_t w = write(1, line + done, (size_t)(n - done));
        if (w <= 0)
            _exit(99);
        done += (int)w;
    }
}

static inline void die(const char *what)
{
    say("FATAL %s: %s\n", what, strerrorname_np(errno));
    _exit(98);
}

static inline const char *ename(int e)
{
    const char *n = e ? strerrorname_np(e) : "0";
    return n ? n : "?";
}

static inline long shown(int line, const char *text, long v, int e)
{
    if (v == -1)
        say("%d: %s = -1 %s\n", line, text, ename(e));
    else if (e)
        say("%d: %s = %ld, errno left as %s\n", line, text, v, ename(e));
    else
        say("%d: %s = %ld\n", line, text, v);
    return v;
}

static inline long shown_ok(int line, const char *text, long v, int e)
{
    if (v == -1)
        say("%d: %s = -1 %s\n", line, text, ename(e));
    else
        say("%d: %s = ok\n", line, text);
    return v;
}

/* A system call whose value is printed; errno must stay untouched on success. */
#define R(expr)                                                                                                       \
    ({                                                                                                                \
        errno = 0;                                                                                                    \
        long v_ = (long)(expr);                                                                                       \
        shown(__LINE__, #expr, v_, errno);                                                                            \
    })
/* A call whose value is a descriptor or an address: only success or the error is printed. */
#define F(expr)                                                                                                       \
    ({                                                                                                                \
        errno = 0;                                                                                                    \
        long v_ = (long)(expr);                                                                                       \
        (int)shown_ok(__LINE__, #expr, v_, errno);                                                                    \
    })
/* A call that returns its error instead of setting errno (posix_fallocate, posix_spawn ...). */
#define E(expr) say("%d: %s = %s\n", __LINE__, #expr, ename(expr))
/* A stdio or library call: the value only; errno is not specified on success. */
#define V(expr) say("%d: %s = %ld\n", __LINE__, #expr, (long)(expr))

/* A path in the directory under test; sixteen of them live at once. */
static inline const char *P(const char *name)
{
    static __thread char ring[16][PATH_MAX];
    static __thread int next;
    char *p = ring[next++ & 15];
    if (*name)
        snprintf(p, PATH_MAX, "%s/%s", D, name);
    else
        snprintf(p, PATH_MAX, "%s", D);
    return p;
}

static inline void begin(int argc, char **argv)
{
    if (argc > 1)
        D = argv[1];
    umask(022);
}

static inline uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* Bytes that depend on the seed and on their index, never zero: a zero in a file is always a hole or a loss. */
static inline void *fill(void *buf, size_t len, uint64_t seed)
{
    unsigned char *b = (unsigned char *)buf;
    for (size_t i = 0; i < len; i++)
        b[i] = (unsigned char)(1 + mix(seed * 1000003u + i / 8) % 255u + 0 * i);
    for (size_t i = 0; i < len; i++)
        b[i] = (unsigned char)(1 + (b[i] + i * 7) % 255u);
    return buf;
}

static inline uint64_t hash_more(uint64_t h, const void *buf, size_t len)
{
    const unsigned char *b = (const unsigned char *)buf;
    for (size_t i = 0; i < len; i++)
        h = (h ^ b[i]) * 0x100000001b3u;
    return h;
}
static inline uint64_t hash(const void *buf, size_t len)
{
    return hash_more(0xcbf29ce484222325u, buf, len);
}

static inline void *grab(size_t len)
{
    void *p = malloc(len ? len : 1);
    if (!p)
        die("malloc");
    memset(p, 0xEE, len);
    return p;
}

/* The whole content of an open file by pread: size, and hash or text. */
static inline void content_at(int line, const char *label, int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0) {
        say("%d: content of %s: fstat %s\n", line, label, ename(errno));
        return;
    }
    size_t cap = 65536;
    char *b = (char *)grab(cap), first[49] = "";
    uint64_t h = 0xcbf29ce484222325u;
    off_t at = 0;
    size_t kept = 0;
    for (;;) {
        ssize_t n = pread(fd, b, cap, at);
        if (n < 0) {
            say("%d: content of %s: pread %s\n", line, label, ename(errno));
            break;
        }
        if (n == 0)
            break;
        for (ssize_t i = 0; i < n && kept < 40; i++)
            first[kept++] = b[i] >= 32 && b[i] < 127 ? b[i] : '.';
        h = hash_more(h, b, (size_t)n);
        at += n;
    }
    say("%d: content of %s: size %ld, read %ld, hash %016lx, \"%s\"\n", line, label, (long)st.st_size, (long)at,
        (unsigned long)h, first);
    free(b);
}
#define CONTENT(fd) content_at(__LINE__, #fd, fd)

/* The same by name, through a descriptor of its own. */
static inline void file_at(int line, const char *name)
{
    int fd = open(P(name), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        say("%d: file %s: %s\n", line, name, ename(errno));
        return;
    }
    content_at(line, name, fd);
    close(fd);
}
#define FILE_IS(name) file_at(__LINE__, name)

/* Makes a file of `len` patterned bytes in one go. */
static inline void make(const char *name, size_t len, uint64_t seed)
{
    int fd = open(P(name), O_CREAT | O_TRUNC | O_WRONLY, 0644);
    if (fd < 0)
        die(name);
    char *b = (char *)fill(grab(len), len, seed);
    for (size_t done = 0; done < len;) {
        ssize_t n = write(fd, b + done, len - done);
        if (n <= 0)
            die("write in make");
        done += (size_t)n;
    }
    free(b);
    if (close(fd))
        die("close in make");
}

static inline void size_at(int line, const char *label, int r, const struct stat *st)
{
    if (r < 0)
        say("%d: size by %s: %s\n", line, label, ename(errno));
    else
        say("%d: size by %s: %ld mode %o links %ld\n", line, label, (long)st->st_size, st->st_mode, (long)st->st_nlink);
}
#define FSIZE(fd)                                                                                                     \
    do {                                                                                                              \
        struct stat st_;                                                                                              \
        int r_ = fstat(fd, &st_);                                                                                     \
        size_at(__LINE__, #fd, r_, &st_);                                                                             \
    } while (0)
#define NSIZE(name)                                                                                                   \
    do {                                                                                                              \
        struct stat st_;                                                                                              \
        int r_ = lstat(P(name), &st_);                                                                                \
        size_at(__LINE__, name, r_, &st_);                                                                            \
    } while (0)

/* Waits for a child and prints how it ended. */
static inline void reap_at(int line, pid_t pid)
{
    int st;
    if (pid < 0) {
        say("%d: fork: %s\n", line, ename(errno));
        return;
    }
    while (waitpid(pid, &st, 0) < 0)
        if (errno != EINTR) {
            say("%d: waitpid: %s\n", line, ename(errno));
            return;
        }
    if (WIFEXITED(st))
        say("%d: child exited %d\n", line, WEXITSTATUS(st));
    else
        say("%d: child ended by signal %d\n", line, WTERMSIG(st));
}
#define REAP(pid) reap_at(__LINE__, pid)

/* A gate between processes: one passes tokens, the other waits for them. */
struct gate {
    int r, w;
};
static inline struct gate gate(void)
{
    int p[2];
    if (pipe2(p, O_CLOEXEC) < 0)
        die("pipe2");
    return (struct gate){p[0], p[1]};
}
static inline void pass(struct gate g, int n)
{
    char c = 'x';
    while (n--)
        if (write(g.w, &c, 1) != 1)
            die("gate write");
}
static inline void await(struct gate g, int n)
{
    char c;
    while (n--)
        if (read(g.r, &c, 1) != 1)
            die("gate read");
}
#endif
