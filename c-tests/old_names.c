/* The other names of the same calls: explicit 64-bit ones, the stat family of old programs, macros' helpers. */
#include "common.h"
#include <fts.h>
#include <ftw.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

int old_xstat(int, const char *, struct stat *);
int old_lxstat(int, const char *, struct stat *);
int old_fxstat(int, int, struct stat *);
int old_fxstatat(int, int, const char *, struct stat *, int);
int old_xstat64(int, const char *, struct stat64 *);
int old_lxstat64(int, const char *, struct stat64 *);
int old_fxstat64(int, int, struct stat64 *);
int old_fxstatat64(int, int, const char *, struct stat64 *, int);
int old_xmknod(int, const char *, mode_t, dev_t *);
__asm__(".symver old_xstat,__xstat@GLIBC_2.2.5\n"
        ".symver old_lxstat,__lxstat@GLIBC_2.2.5\n"
        ".symver old_fxstat,__fxstat@GLIBC_2.2.5\n"
        ".symver old_fxstatat,__fxstatat@GLIBC_2.4\n"
        ".symver old_xstat64,__xstat64@GLIBC_2.2.5\n"
        ".symver old_lxstat64,__lxstat64@GLIBC_2.2.5\n"
        ".symver old_fxstat64,__fxstat64@GLIBC_2.2.5\n"
        ".symver old_fxstatat64,__fxstatat64@GLIBC_2.4\n"
        ".symver old_xmknod,__xmknod@GLIBC_2.2.5\n");
int _IO_getc(FILE *);
int _IO_putc(int, FILE *);
int __overflow(FILE *, int);
int __uflow(FILE *);
ssize_t __getdelim(char **, size_t *, int, FILE *);
ssize_t __write(int, const void *, size_t);
ssize_t __read(int, void *, size_t);
int __open(const char *, int, ...);
int __open64(const char *, int, ...);
int __close(int);
off_t __lseek(int, off_t, int);
ssize_t __pread64(int, void *, size_t, off64_t);
ssize_t __pwrite64(int, const void *, size_t, off64_t);
int __fcntl(int, int, ...);
int __dup2(int, int);

static long total;
static int visit64(const char *path, const struct stat64 *st, int type, struct FTW *f)
{
    (void)path;
    (void)f;
    if (type == FTW_F)
        total += st->st_size;
    return 0;
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    char b[200];
    int fd = F(open64(P("f"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "staged", 6));
    R(pwrite64(fd, "by pwrite64", 11, 100));
    R(pread64(fd, b, 20, 98));
    say("%016lx\n", (unsigned long)hash(b, 13));
    R(lseek64(fd, 0, SEEK_END));
    struct iovec v[2] = {{"one", 3}, {"two", 3}};
    R(pwritev64(fd, v, 2, 200));
    R(pwritev64v2(fd, v, 2, 300, 0));
    struct iovec w[2] = {{b, 50}, {b + 50, 50}};
    R(preadv64(fd, w, 2, 190));
    say("%016lx\n", (unsigned long)hash(b, 100));
    R(preadv64v2(fd, w, 2, 0, 0));
    say("%016lx\n", (unsigned long)hash(b, 100));

    struct stat st;
    struct stat64 st64;
    R(old_xstat(1, P("f"), &st));
    say("%ld\n", (long)st.st_size);
    R(old_lxstat(1, P("f"), &st));
    say("%ld\n", (long)st.st_size);
    R(old_fxstat(1, fd, &st));
    say("%ld\n", (long)st.st_size);
    R(old_fxstatat(1, AT_FDCWD, P("f"), &st, 0));
    say("%ld\n", (long)st.st_size);
    R(old_xstat64(1, P("f"), &st64));
    say("%ld\n", (long)st64.st_size);
    R(old_lxstat64(1, P("f"), &st64));
    say("%ld\n", (long)st64.st_size);
    R(old_fxstat64(1, fd, &st64));
    say("%ld\n", (long)st64.st_size);
    R(old_fxstatat64(1, AT_FDCWD, P("f"), &st64, 0));
    say("%ld\n", (long)st64.st_size);
    R(old_xstat(99, P("f"), &st));
    R(fstat64(fd, &st64));
    R(stat64(P("f"), &st64));
    R(lstat64(P("f"), &st64));
    R(fstatat64(AT_FDCWD, P("f"), &st64, 0));
    say("%ld\n", (long)st64.st_size);
    R(old_xmknod(0, P("node"), S_IFREG | 0600, &(dev_t){0}));

    R(ftruncate64(fd, 150));
    R(pwrite64(fd, "again", 5, 148));
    R(truncate64(P("f"), 151));
    CONTENT(fd);
    R(pwrite64(fd, "more", 4, 160));
    R(fallocate64(fd, 0, 0, 5000));
    E(posix_fallocate64(fd, 0, 6000));
    E(posix_fadvise64(fd, 0, 0, POSIX_FADV_NORMAL));
    CONTENT(fd);
    int out = F(creat64(P("out"), 0644));
    off64_t at = 90;
    R(pwrite(fd, "fresh", 5, 95));
    R(sendfile64(out, fd, &at, 50));
    R(close(out));
    FILE_IS("out");
    R(pwrite(fd, "mapped", 6, 10));
    char *m = mmap64(NULL, 6000, PROT_READ, MAP_SHARED, fd, 0);
    say("%.6s\n", m + 10);
    R(munmap(m, 6000));
    R(lockf64(fd, F_LOCK, 10));
    R(fcntl64(fd, F_GETFL) & O_ACCMODE);
    R(close(fd));
    int dir = F(openat64(AT_FDCWD, P(""), O_RDONLY | O_DIRECTORY));
    fd = F(openat64(dir, "g", O_CREAT | O_RDWR, 0600));
    R(write(fd, "openat64", 8));
    R(close(fd));
    R(close(dir));
    FILE_IS("g");
    struct statfs64 fs;
    struct statvfs64 vfs;
    R(statfs64(P("f"), &fs));
    R(statvfs64(P("f"), &vfs));
    strcpy(b, P("tmpXXXXXX"));
    fd = F(mkstemp64(b));
    R(write(fd, "mkstemp64", 9));
    CONTENT(fd);
    R(close(fd));
    R(unlink(b));

    /* internal twins that some libraries import */
    fd = F(__open(P("h"), O_CREAT | O_RDWR, 0644));
    R(__write(fd, "by __write", 10));
    R(__pwrite64(fd, "BY", 2, 0));
    R(__lseek(fd, 0, SEEK_SET));
    R(__read(fd, b, 20));
    say("%.10s\n", b);
    R(__pread64(fd, b, 5, 3));
    R(__fcntl(fd, F_GETFL) & O_ACCMODE);
    R(__dup2(fd, 222));
    R(write(222, "+222", 4));
    CONTENT(fd);
    R(__close(222));
    R(__close(fd));
    fd = F(__open64(P("h"), O_RDWR | O_APPEND));
    R(__write(fd, "+open64", 7));
    R(close(fd));
    FILE_IS("h");

    /* stdio's */
    FILE *f = fopen64(P("s"), "w+");
    V(_IO_putc('a', f));
    for (int i = 0; i < 10000; i++)
        putc_unlocked('b', f); /* a macro that calls __overflow */
    V(__overflow(f, 'c'));
    V(fseeko64(f, 5000, SEEK_SET));
    V(fputs("middle", f));
    V(ftello64(f));
    fpos64_t pos;
    V(fgetpos64(f, &pos));
    rewind(f);
    V(_IO_getc(f));
    int n = 0;
    while (getc_unlocked(f) == 'b') /* a macro that calls __uflow */
        n++;
    V(n);
    V(fsetpos64(f, &pos));
    V(fgetc(f));
    V(fseeko64(f, 0, SEEK_SET));
    V(__uflow(f));
    char *line = NULL;
    size_t cap = 0;
    V(__getdelim(&line, &cap, 'c', f));
    f = freopen64(P("s2"), "w", f);
    V(fputs("freopen64", f));
    V(fclose(f));
    FILE_IS("s");
    FILE_IS("s2");
    f = tmpfile64();
    V(fputs("tmpfile64", f));
    V(fclose(f));

    /* directories */
    fd = F(open(P("open"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "closed by now or not", 20));
    V(nftw64(P("."), visit64, 5, FTW_PHYS));
    V(total);
    DIR *d = opendir(P(""));
    n = 0;
    while (readdir64(d))
        n++;
    V(n);
    V(closedir(d));
    struct dirent64 **names;
    V(scandir64(P(""), &names, NULL, alphasort64));
    R(close(fd));
    return 0;
}
