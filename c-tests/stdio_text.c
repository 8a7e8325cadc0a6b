/* Formatted and line stdio: printf and scanf families, gets, getline, ungetc, unlocked names, buffers of all kinds. */
#include "common.h"
#include <stdio_ext.h>

static void vf(FILE *f, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    V(vfprintf(f, fmt, ap));
    va_end(ap);
}
static int vs(FILE *f, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int r = vfscanf(f, fmt, ap);
    va_end(ap);
    return r;
}

static void buffered(const char *name, int kind, size_t size, char *given)
{
    FILE *f = fopen(P(name), "w+");
    V(setvbuf(f, given, kind, size));
    struct stat st;
    for (int i = 0; i < 6; i++) {
        fprintf(f, "line %d", i);
        stat(P(name), &st);
        long half = (long)st.st_size;
        fputc('\n', f);
        stat(P(name), &st);
        say("%s %d: %ld %ld\n", name, i, half, (long)st.st_size);
    }
    char b[3000];
    memset(b, 'q', sizeof b);
    V(fwrite(b, 1, sizeof b, f));
    stat(P(name), &st);
    say("%s: %ld\n", name, (long)st.st_size);
    rewind(f);
    V(fgetc(f));
    say("fd at %d\n", lseek(fileno(f), 0, SEEK_CUR) >= 1);
    V(fscanf(f, "ine %*d\nline %d", &(int){0}));
    V(ftell(f));
    V(fclose(f));
    FILE_IS(name);
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    char b[500];
    FILE *f = fopen(P("t"), "w+");
    V(fprintf(f, "%d %5.2f %s %c %x\n", 42, 3.14159, "word", 'c', 255));
    vf(f, "%s=%ld\n", "key", 123456789L);
    V(fputs("a line\n", f));
    V(fputc('z', f));
    V(putc('y', f));
    V(fputc_unlocked('x', f));
    V(putc_unlocked('\n', f));
    V(fwrite_unlocked("unlocked\n", 1, 9, f));
    V(fputs_unlocked("puts\n", f));
    V(fprintf(f, "%2000d\n", 1));
    V(fprintf(f, "%s", ""));
    V(fflush_unlocked(f));
    FILE_IS("t");
    rewind(f);
    int i, n;
    unsigned x;
    float fl;
    char w[50], c;
    V(fscanf(f, "%d %f %49s %c %x", &i, &fl, w, &c, &x));
    say("%d %.2f %s %c %u\n", i, fl, w, c, x);
    long l;
    V(vs(f, " key=%ld", &l));
    say("%ld\n", l);
    V(fgetc(f));
    V(fgets(b, sizeof b, f) != NULL);
    say("%s", b);
    V(fgetc(f));
    V(ungetc('Q', f));
    V(ftell(f));
    V(fgetc_unlocked(f));
    V(getc(f));
    V(ungetc('1', f));
    V(fgets_unlocked(b, 4, f) != NULL);
    say("[%s]\n", b);
    V(ftell(f));
    V(fread_unlocked(b, 1, 9, f));
    V(feof_unlocked(f));
    V(ferror_unlocked(f));
    char *line = NULL;
    size_t cap = 0;
    V(getline(&line, &cap, f));
    V(getline(&line, &cap, f));
    V(getdelim(&line, &cap, '1', f));
    V(getline(&line, &cap, f));
    V(getline(&line, &cap, f));
    V(feof(f) != 0);
    V(ungetc('U', f));
    V(feof(f) != 0);
    V(fgetc(f));
    V(fgetc(f));
    V(ftell(f));
    /* pushed back characters and a seek */
    V(fseek(f, 5, SEEK_SET));
    V(ungetc('!', f));
    V(fgetc(f));
    V(fgetc(f));
    V(ungetc('!', f));
    V(fseek(f, 0, SEEK_SET));
    V(fgetc(f));
    V(fclose(f));
    free(line);

    /* lines of all lengths */
    f = fopen(P("lines"), "w");
    for (int k = 0; k < 200; k++) {
        for (int j = 0; j < k * 13 % 701; j++)
            putc('a' + (k + j) % 26, f);
        putc('\n', f);
    }
    fputs("no newline at the end", f);
    V(fclose(f));
    f = fopen(P("lines"), "r");
    uint64_t h = 0xcbf29ce484222325u;
    line = NULL;
    cap = 0;
    n = 0;
    ssize_t got;
    while ((got = getline(&line, &cap, f)) > 0) {
        h = hash_more(h, line, (size_t)got);
        n++;
    }
    say("%d lines, %016lx, eof %d\n", n, (unsigned long)h, feof(f) != 0);
    rewind(f);
    n = 0;
    while (fgets(b, 100, f))
        n++;
    say("%d pieces\n", n);
    V(fclose(f));

    /* numbers, much as data files hold them */
    f = fopen(P("numbers"), "w+");
    for (int k = 0; k < 2000; k++)
        fprintf(f, "%d %.17g %s\n", k, k / 7.0, k % 2 ? "odd" : "even");
    rewind(f);
    int ok = 0;
    double d;
    for (int k = 0; k < 2000; k++)
        if (fscanf(f, "%d %lf %49s", &i, &d, w) == 3 && i == k && d == k / 7.0)
            ok++;
    V(ok);
    V(fscanf(f, "%d", &i));
    V(fclose(f));
    FILE_IS("numbers");
    f = fopen(P("numbers"), "r");
    V(fscanf(f, "%d%n", &i, &n));
    V(n);
    V(fscanf(f, "%*s %[a-z]", w));
    say("%s\n", w);
    V(fscanf(f, "%49[^\n]", w));
    V(fscanf(f, "x"));
    V(fscanf(f, "%d", &i));
    V(fscanf(f, "%ms", &line) == 1);
    V(ftell(f));
    V(fclose(f));

    /* buffers */
    static char own[5000];
    buffered("full", _IOFBF, 0, NULL);
    buffered("full64", _IOFBF, 64, own);
    buffered("full4096", _IOFBF, 4096, own);
    buffered("line", _IOLBF, 0, NULL);
    buffered("line100", _IOLBF, 100, own);
    buffered("none", _IONBF, 0, NULL);
    f = fopen(P("setbuf"), "w");
    setbuf(f, NULL);
    V(fputs("unbuffered", f));
    NSIZE("setbuf");
    setlinebuf(f);
    V(fputs("half", f));
    V(fputs(" whole\n", f));
    NSIZE("setbuf");
    V(fclose(f));
    f = fopen(P("setbuf"), "w");
    setbuffer(f, own, 100);
    for (int k = 0; k < 30; k++)
        fputs("0123456789", f);
    V(fflush(f));
    NSIZE("setbuf");
    V(setvbuf(f, NULL, 99, 0));
    V(fclose(f));

    /* fflush(NULL), fpurge, fclose errors, fcloseall */
    FILE *g = fopen(P("g"), "w"), *k = fopen(P("k"), "w");
    fputs("in g", g);
    fputs("in k", k);
    V(fflush(NULL));
    NSIZE("g");
    NSIZE("k");
    fputs("purged", g);
    __fpurge(g);
    V(__fpending(k));
    fputs("pending", k);
    V(__fpending(k));
    V(__fwriting(k) != 0);
    V(__freadable(k) != 0);
    V(__fwritable(k) != 0);
    V(fclose(g));
    V(fclose(k));
    FILE_IS("g");
    FILE_IS("k");
    g = fopen(P("g"), "w");
    fputs("lost", g);
    close(fileno(g));
    errno = 0;
    int r = fclose(g);
    say("fclose %d %s\n", r, ename(errno));
    FILE_IS("g");
    g = fopen(P("g"), "r");
    V(fflush(g));
    V(fclose(g));
    g = fopen(P("open1"), "w");
    k = fopen(P("open2"), "w");
    fputs("one", g);
    fputs("two", k);
    V(fcloseall());
    FILE_IS("open1");
    FILE_IS("open2");
    return 0;
}
