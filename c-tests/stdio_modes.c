/* fopen in every mode, reads and writes of all sizes, positions, end of file and errors. */
#include "common.h"

static void where(int line, FILE *f)
{
    /* where the descriptor stands between flushes is nobody's promise (stdio_fd.c looks at it after flushes) */
    say("%d: at %ld eof %d err %d\n", line, ftell(f), feof(f) != 0, ferror(f) != 0);
}
#define WHERE(f) where(__LINE__, f)

static const char *modes[] = {"r",  "r+",  "w",   "w+",  "a",    "a+",     "rb",  "rb+",    "r+b", "wb",
                              "wx", "w+x", "wbx", "ab+", "re",   "we",     "rm",  "w+e",    "z",   "",
                              "+r", "rw",  "a+x", "rc",  "r+cem", "w,ccs=UTF-8"};

int main(int argc, char **argv)
{
    begin(argc, argv);
    char b[70000];

    /* every mode on an absent file, an existing one, a directory */
    for (unsigned i = 0; i < sizeof modes / sizeof *modes; i++)
        for (int exists = 0; exists < 2; exists++) {
            unlink(P("m"));
            if (exists)
                make("m", 20, 1);
            errno = 0;
            FILE *f = fopen(P("m"), modes[i]);
            if (!f) {
                say("mode %s exists %d: %s\n", modes[i], exists, ename(errno));
                continue;
            }
            int fl = fcntl(fileno(f), F_GETFL);
            int cx = fcntl(fileno(f), F_GETFD);
            long at = ftell(f);
            size_t w = modes[i][2] == 'c' ? 0 : fwrite("HELLO", 1, 5, f);
            int werr = ferror(f) != 0;
            int flush = fflush(f);
            rewind(f);
            size_t r = modes[i][2] == 'c' ? 0 : fread(b, 1, 100, f);
            say("mode %s exists %d: flags %o cloexec %d at %ld wrote %zu err %d flush %d read %zu err %d eof %d\n",
                modes[i], exists, fl & (O_ACCMODE | O_APPEND), cx, at, w, werr, flush, r, ferror(f) != 0, feof(f) != 0);
            int c = fclose(f);
            say("close %d\n", c);
            FILE_IS("m");
        }
    V(fopen(P(""), "w") == NULL);
    V(fopen(P("absent/x"), "w") == NULL);
    FILE *f = fopen(P(""), "r");
    V(f != NULL);
    V(fgetc(f));
    V(ferror(f) != 0);
    V(fclose(f));
    umask(077);
    f = fopen(P("masked"), "w");
    fclose(f);
    umask(022);
    NSIZE("masked");

    /* sizes of items and calls */
    f = fopen(P("sizes"), "w+");
    static const size_t n[] = {0, 1, 2, 63, 64, 100, 4095, 4096, 4097, 8191, 8192, 8193, 65535, 65536, 65537};
    for (unsigned i = 0; i < sizeof n / sizeof *n; i++) {
        fill(b, n[i], i);
        V(fwrite(b, 1, n[i], f));
        V(fwrite(b, n[i], 1, f));
        WHERE(f);
        if (i % 3 == 2) {
            V(fseek(f, -(long)(n[i] / 2), SEEK_CUR));
            V(fputs("seam", f));
            V(fseek(f, 0, SEEK_END));
        }
    }
    long end = ftell(f);
    rewind(f);
    uint64_t h = 0xcbf29ce484222325u;
    for (unsigned i = 0; !feof(f); i++) {
        size_t want = n[i % 15] + 1, got = fread(b, 1, want, f);
        h = hash_more(h, b, got);
    }
    say("end %ld hash %016lx\n", end, (unsigned long)h);
    WHERE(f);
    V(fread(b, 100, 3, f));
    rewind(f);
    V(fread(b, 1000, 60, f));
    V(fread(b, 0, 5, f));
    V(fread(b, 5, 0, f));
    WHERE(f);
    V(fseek(f, 10, SEEK_END));
    WHERE(f);
    V(fgetc(f));
    WHERE(f);
    V(fputc('E', f));
    WHERE(f);
    V(fseek(f, -1000000000, SEEK_CUR));
    V(fseek(f, -1, SEEK_SET));
    V(fseek(f, 0, 42));
    WHERE(f);
    V(fclose(f));
    FILE_IS("sizes");

    /* update mode: reads and writes in turn */
    make("u", 1000, 2);
    f = fopen(P("u"), "r+");
    V(fgetc(f));
    V(fgetc(f));
    V(fseek(f, 0, SEEK_CUR));
    V(fputs("two", f));
    V(fflush(f));
    V(fgetc(f));
    fpos_t pos, start;
    V(fgetpos(f, &pos));
    V(fseek(f, 500, SEEK_SET));
    V(fwrite("middle", 1, 6, f));
    V(fsetpos(f, &pos));
    V(fgetc(f));
    WHERE(f);
    V(fseeko(f, 999, SEEK_SET));
    V(fgetc(f));
    V(fgetc(f));
    WHERE(f);
    clearerr(f);
    WHERE(f);
    V(fseek(f, 0, SEEK_CUR));
    V(fputs("tail", f));
    V(fgetpos(f, &start));
    rewind(f);
    V(fread(b, 1, 2000, f));
    say("%016lx\n", (unsigned long)hash(b, 1004));
    V(ftello(f));
    V(fclose(f));
    FILE_IS("u");

    /* append: writes go to the end whatever the position; a+ reads from anywhere */
    f = fopen(P("u"), "a+");
    WHERE(f);
    V(fread(b, 1, 5, f));
    WHERE(f);
    V(fseek(f, 3, SEEK_SET));
    V(fputs("appended", f));
    WHERE(f);
    V(fflush(f));
    WHERE(f);
    V(fseek(f, -8, SEEK_END));
    V(fread(b, 1, 100, f));
    say("%.8s\n", b);
    V(fseek(f, 0, SEEK_CUR));
    V(fputs("more", f));
    V(fclose(f));
    FILE_IS("u");
    FILE *a1 = fopen(P("two"), "a"), *a2 = fopen(P("two"), "a");
    for (int i = 0; i < 5; i++) {
        fprintf(a1, "one %d\n", i);
        fflush(a1);
        fprintf(a2, "two %d\n", i);
        fflush(a2);
    }
    WHERE(a1);
    WHERE(a2);
    V(fclose(a1));
    V(fclose(a2));
    FILE_IS("two");

    /* wrong direction */
    f = fopen(P("u"), "r");
    V(fputc('x', f));
    V(ferror(f) != 0);
    V(fclose(f));
    f = fopen(P("u"), "w");
    V(fgetc(f));
    V(ferror(f) != 0);
    clearerr(f);
    V(fputs("written", f));
    V(fclose(f));
    FILE_IS("u");

    /* a whole file by characters, words, and a large block through a large stream */
    f = fopen(P("chars"), "w+");
    for (int i = 0; i < 30000; i++)
        putc('a' + i % 26, f);
    V(putw(0x01020304, f));
    rewind(f);
    int bad = 0;
    for (int i = 0; i < 30000; i++)
        bad += getc(f) != 'a' + i % 26;
    say("bad %d\n", bad);
    V(getw(f));
    V(getc(f));
    V(fclose(f));
    char *big = fill(grab(4 << 20), 4 << 20, 12), *back = grab(4 << 20);
    f = fopen(P("big"), "w+");
    V(fwrite("head", 1, 4, f));
    V(fwrite(big, 1, 4 << 20, f));
    V(fwrite("tail", 1, 4, f));
    V(fseek(f, 4, SEEK_SET));
    V(fread(back, 1, 4 << 20, f));
    V(memcmp(big, back, 4 << 20));
    V(fread(back, 1, 100, f));
    say("%.4s\n", back);
    V(fclose(f));
    FILE_IS("big");
    return 0;
}
