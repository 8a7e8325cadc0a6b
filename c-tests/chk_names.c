/* Fortified calls: with sizes and flags that the compiler cannot know, gcc calls __read_chk, __open_2 and the like. */
#define _FORTIFY_SOURCE 2
#include "common.h"
#include <locale.h>
#include <wchar.h>

static volatile size_t n;
static volatile int flags;

static void vd(int fd, const char *f, ...)
{
    va_list ap;
    va_start(ap, f);
    V(vdprintf(fd, f, ap));
    va_end(ap);
}
static void vp(FILE *fp, const char *f, ...)
{
    va_list ap;
    va_start(ap, f);
    V(vfprintf(fp, f, ap));
    va_end(ap);
}
static void vw(FILE *fp, const wchar_t *f, ...)
{
    va_list ap;
    va_start(ap, f);
    V(vfwprintf(fp, f, ap));
    va_end(ap);
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    setlocale(LC_ALL, "C.UTF-8");
    char b[200], path[PATH_MAX];
    wchar_t w[100];
    const char *fmt = argc > 90 ? "other %d\n" : "number %d\n";

    int fd = open(P("f"), O_CREAT | O_RDWR, 0644);
    for (int i = 0; i < 10; i++)
        R(write(fd, "0123456789", 10));
    flags = O_RDWR;
    int a = F(open(P("f"), flags)), c = F(open64(P("f"), flags));
    int dir = F(open(P(""), O_RDONLY | O_DIRECTORY));
    int d = F(openat(dir, "f", flags)), e = F(openat64(dir, "f", flags));
    n = 50;
    R(read(a, b, n));
    say("%016lx\n", (unsigned long)hash(b, 50));
    R(write(a, "staged", 6));
    R(pread(c, b, n, 45));
    say("%016lx\n", (unsigned long)hash(b, 50));
    R(pwrite(c, "64", 2, 7));
    R(pread64(d, b, n, 3));
    say("%016lx\n", (unsigned long)hash(b, 50));
    R(read(e, b, n));
    say("%016lx\n", (unsigned long)hash(b, 50));
    R(lseek(a, 0, SEEK_END));
    V(dprintf(a, fmt, 42));
    vd(a, fmt, 43);
    CONTENT(fd);
    R(close(a));
    R(close(c));
    R(close(d));
    R(close(e));
    flags = O_RDWR | O_TRUNC;
    a = F(open(P("f"), flags));
    FSIZE(fd);
    R(write(a, "after", 5));
    CONTENT(fd);
    R(close(a));

    FILE *f = fopen(P("s"), "w+");
    V(fprintf(f, fmt, 1));
    vp(f, fmt, 2);
    for (int i = 0; i < 30; i++)
        fprintf(f, fmt, i);
    rewind(f);
    n = 20;
    V(fread(b, 1, n, f));
    say("%016lx\n", (unsigned long)hash(b, 20));
    V(fread_unlocked(b, 2, n, f));
    say("%016lx\n", (unsigned long)hash(b, 40));
    int k = (int)n;
    V(fgets(b, k, f) != NULL);
    say("%s", b);
    V(fgets_unlocked(b, k, f) != NULL);
    say("%s", b);
    V(fclose(f));
    FILE_IS("s");
    f = fopen(P("w"), "w+");
    V(fwprintf(f, L"größe %d\n", 5));
    vw(f, L"länge %d\n", 6);
    rewind(f);
    V(fgetws(w, k, f) != NULL);
    V(wcslen(w));
    V(fgetws_unlocked(w, k, f) != NULL);
    V(wcslen(w));
    V(fclose(f));
    FILE_IS("w");

    R(symlink("f", P("l")));
    n = 100;
    R(readlink(P("l"), b, n));
    R(readlinkat(dir, "l", b, n));
    V(realpath(P("l"), path) != NULL);
    say("%s\n", strrchr(path, '/'));
    n = sizeof path;
    V(getcwd(path, n) != NULL);
    int saved = dup(1);
    V(freopen(P("stdout"), "w", stdout) != NULL);
    printf(fmt, 7);
    V(fflush(stdout));
    dup2(saved, 1);
    FILE_IS("stdout");
    R(close(fd));
    return 0;
}
