/* Carries out calls on names and bytes below the directory that it is given, one a line of standard input, and answers
 * each with a line: 0 or the result, or the error's name. A file stays open from `open` to `close` under its number. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/xattr.h>
#include <unistd.h>

static const char *root;
static int open_files[8] = { -1, -1, -1, -1, -1, -1, -1, -1 };

static const char *at(const char *name, int i) {
    static char buf[2][4096];
    snprintf(buf[i], sizeof buf[i], "%s/%s", root, strcmp(name, ".") ? name : "");
    return buf[i];
}

static void answer(long result) {
    if (result < 0)
        printf("%s\n", strerrorname_np(errno));
    else
        printf("%ld\n", result);
}

static unsigned long sum_of(int fd, long *len) {
    unsigned char b[8192];
    unsigned long sum = 0;
    ssize_t n;
    *len = 0;
    while ((n = pread(fd, b, sizeof b, *len)) > 0) {
        for (ssize_t i = 0; i < n; i++)
            sum = sum * 31 + b[i];
        *len += n;
    }
    if (n < 0)
        *len = -1;
    return sum;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char **)a, *(char **)b); }

/* Everything below a directory, in the order of names, on one line. */
static void tree(const char *path, const char *shown) {
    DIR *d = opendir(path);
    char *names[1000];
    int n = 0;
    if (!d) {
        printf(" %s:%s", shown, strerrorname_np(errno));
        return;
    }
    struct dirent *e;
    while ((e = readdir(d)) && n < 1000)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
            names[n++] = strdup(e->d_name);
    closedir(d);
    qsort(names, n, sizeof *names, by_name);
    for (int i = 0; i < n; i++) {
        char full[4096], name[4096], text[4096];
        struct stat st;
        snprintf(full, sizeof full, "%s/%s", path, names[i]);
        snprintf(name, sizeof name, "%s%s%s", shown, *shown ? "/" : "", names[i]);
        if (lstat(full, &st)) {
            printf(" %s:%s", name, strerrorname_np(errno));
        } else if (S_ISDIR(st.st_mode)) {
            printf(" %s:dir,%o", name, st.st_mode & 07777);
            tree(full, name);
        } else if (S_ISLNK(st.st_mode)) {
            ssize_t len = readlink(full, text, sizeof text);
            printf(" %s:link,%.*s", name, (int)len, text);
        } else if (S_ISREG(st.st_mode)) {
            int fd = open(full, O_RDONLY);
            long len;
            unsigned long sum = sum_of(fd, &len);
            ssize_t x = getxattr(full, "user.x", text, sizeof text);
            printf(" %s:file,%o,%ld,%ld,%lx,%ld,%.*s", name, st.st_mode & 07777, (long)st.st_size, len, sum,
                   st.st_mtime == 1000000000 ? 1L : 0L, x > 0 ? (int)x : 0, text);
            close(fd);
        } else {
            printf(" %s:other,%o", name, st.st_mode);
        }
        free(names[i]);
    }
}

int main(int argc, char **argv) {
    char line[4096], a[1024], b[1024], c[1024], data[65536];
    if (argc != 2)
        return 2;
    root = argv[1];
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof line, stdin)) {
        char verb[64] = "";
        long n = 0, m = 0;
        a[0] = b[0] = c[0] = 0;
        sscanf(line, "%63s %1023s %1023s %1023s", verb, a, b, c);
        n = atol(b);
        m = atol(c);
        memset(data, 'a' + (int)(m % 26), sizeof data);
        if (!strcmp(verb, "mkdir"))
            answer(mkdir(at(a, 0), 0755));
        else if (!strcmp(verb, "rmdir"))
            answer(rmdir(at(a, 0)));
        else if (!strcmp(verb, "unlink"))
            answer(unlink(at(a, 0)));
        else if (!strcmp(verb, "rename"))
            answer(rename(at(a, 0), at(b, 1)));
        else if (!strcmp(verb, "never"))
            answer(renameat2(AT_FDCWD, at(a, 0), AT_FDCWD, at(b, 1), RENAME_NOREPLACE));
        else if (!strcmp(verb, "exchange"))
            answer(renameat2(AT_FDCWD, at(a, 0), AT_FDCWD, at(b, 1), RENAME_EXCHANGE));
        else if (!strcmp(verb, "link"))
            answer(link(at(a, 0), at(b, 1)));
        else if (!strcmp(verb, "symlink"))
            answer(symlink(b, at(a, 0)));
        else if (!strcmp(verb, "fifo"))
            answer(mkfifo(at(a, 0), 0600));
        else if (!strcmp(verb, "chmod"))
            answer(chmod(at(a, 0), strtol(b, NULL, 8)));
        else if (!strcmp(verb, "truncate"))
            answer(truncate(at(a, 0), n));
        else if (!strcmp(verb, "access"))
            answer(access(at(a, 0), F_OK));
        else if (!strcmp(verb, "xattr"))
            answer(setxattr(at(a, 0), "user.x", b, strlen(b), 0));
        else if (!strcmp(verb, "time")) {
            struct timespec t[2] = { { 0, UTIME_OMIT }, { 1000000000, 0 } };
            answer(utimensat(AT_FDCWD, at(a, 0), t, 0));
        } else if (!strcmp(verb, "statfs")) {
            struct statfs about;
            answer(statfs(at(a, 0), &about));
        } else if (!strcmp(verb, "excl")) {
            int fd = open(at(a, 0), O_CREAT | O_EXCL | O_WRONLY, 0640);
            answer(fd < 0 ? -1 : 0);
            close(fd);
        } else if (!strcmp(verb, "write")) { /* NAME OFFSET LETTER : 3000 bytes, through an open of its own */
            int fd = open(at(a, 0), O_CREAT | O_WRONLY, 0644);
            long done = fd < 0 ? -1 : pwrite(fd, data, 3000, n);
            if (fd >= 0 && close(fd) && done >= 0)
                done = -1;
            answer(done);
        } else if (!strcmp(verb, "sync")) { /* NAME OFFSET LETTER : the same, and fsync */
            int fd = open(at(a, 0), O_CREAT | O_WRONLY, 0644);
            long done = fd < 0 ? -1 : pwrite(fd, data, 3000, n);
            if (done >= 0 && fsync(fd))
                done = -1;
            answer(done);
            close(fd);
        } else if (!strcmp(verb, "empty")) {
            int fd = open(at(a, 0), O_WRONLY | O_TRUNC);
            answer(fd < 0 ? -1 : 0);
            close(fd);
        } else if (!strcmp(verb, "append")) { /* NAME LENGTH LETTER */
            int fd = open(at(a, 0), O_CREAT | O_WRONLY | O_APPEND, 0644);
            data[n - 1] = '\n';
            long done = fd < 0 ? -1 : write(fd, data, n);
            if (fd >= 0 && close(fd) && done >= 0)
                done = -1;
            answer(done);
        } else if (!strcmp(verb, "appends")) { /* NAME COUNT LETTER : so many lines through one open */
            int fd = open(at(a, 0), O_CREAT | O_WRONLY | O_APPEND, 0644);
            long done = fd < 0 ? -1 : 0;
            for (long i = 0; i < n && done >= 0; i++) {
                int len = snprintf(data, 200, "%c %ld %.*s\n", (char)m, i, (int)(i * 7 % 90),
                                   "..............................................................................................");
                done = write(fd, data, len) == len ? done + 1 : -1;
            }
            if (fd >= 0 && close(fd) && done >= 0)
                done = -1;
            answer(done);
        } else if (!strcmp(verb, "read")) {
            int fd = open(at(a, 0), O_RDONLY);
            if (fd < 0) {
                answer(-1);
            } else {
                long len;
                unsigned long sum = sum_of(fd, &len);
                printf("%ld %lx\n", len, sum);
                close(fd);
            }
        } else if (!strcmp(verb, "open")) { /* NAME NUMBER */
            open_files[n] = open(at(a, 0), O_RDWR);
            answer(open_files[n] < 0 ? -1 : 0);
        } else if (!strcmp(verb, "readfd")) { /* - NUMBER */
            long len;
            unsigned long sum = sum_of(open_files[n], &len);
            if (len < 0)
                answer(-1);
            else
                printf("%ld %lx\n", len, sum);
        } else if (!strcmp(verb, "writefd")) { /* NUMBER OFFSET LETTER : 3000 bytes */
            answer(pwrite(open_files[atol(a)], data, 3000, n));
        } else if (!strcmp(verb, "syncfd")) {
            answer(fsync(open_files[atol(a)]));
        } else if (!strcmp(verb, "durable")) { /* NAME OFFSET LETTER : 3000 bytes by O_SYNC, left open as number 7 */
            open_files[7] = open(at(a, 0), O_CREAT | O_RDWR | O_SYNC, 0644);
            answer(open_files[7] < 0 ? -1 : pwrite(open_files[7], data, 3000, n));
        } else if (!strcmp(verb, "onefd")) { /* NUMBER OFFSET : one byte */
            unsigned char byte;
            answer(pread(open_files[atol(a)], &byte, 1, n) == 1 ? byte : -1);
        } else if (!strcmp(verb, "make")) { /* NAME NUMBER */
            open_files[n] = open(at(a, 0), O_RDWR | O_CREAT | O_TRUNC, 0644);
            answer(open_files[n] < 0 ? -1 : 0);
        } else if (!strcmp(verb, "close")) {
            answer(close(open_files[n]));
            open_files[n] = -1;
        } else if (!strcmp(verb, "tree")) {
            printf("tree");
            tree(at(".", 0), "");
            printf("\n");
        } else {
            printf("what is %s?\n", verb);
        }
    }
    return 0;
}
