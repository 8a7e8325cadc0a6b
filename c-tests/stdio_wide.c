/* Wide-character stdio: orientation, conversions, positions, and the ccs= mode. */
#include "common.h"
#include <locale.h>
#include <wchar.h>

int main(int argc, char **argv)
{
    begin(argc, argv);
    say("locale %s\n", setlocale(LC_ALL, "C.UTF-8") ? "C.UTF-8" : "none");
    wchar_t w[300];
    char b[300];

    FILE *f = fopen(P("w"), "w+");
    V(fwide(f, 0));
    V(fwprintf(f, L"%ls %d\n", L"größe € 漢字", 42));
    V(fwide(f, 0));
    V(fputwc(L'ä', f));
    V(putwc(L'€', f));
    V(fputws(L"\nzweite Zeile\n", f));
    V(fputc('x', f));
    V(fflush(f));
    FILE_IS("w");
    rewind(f);
    V(fgetws(w, 300, f) != NULL);
    V(wcslen(w));
    V(fgetwc(f));
    V(ungetwc(L'Ж', f));
    V(getwc(f));
    V(fgetwc(f));
    int n = 0;
    wchar_t word[50];
    V(fwscanf(f, L"%49ls %49ls", word, w));
    V(wcslen(word));
    V(ftell(f));
    V(fgetwc(f));
    V(fgetwc(f));
    V(feof(f) != 0);
    V(fclose(f));

    /* written by descriptor, read wide; and written wide, read by descriptor while open */
    int fd = F(open(P("d"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "z\xc3\xa4hlen 17 \xe2\x82\xac\n", 16));
    f = fopen(P("d"), "r+");
    V(fwscanf(f, L"%ls %d", w, &n));
    V(n);
    V(wcslen(w));
    V(fseek(f, 0, SEEK_END));
    V(fputws(L"näher", f));
    V(fflush(f));
    CONTENT(fd);
    R(pwrite(fd, "Z", 1, 0));
    rewind(f);
    V(fgetwc(f));
    V(fclose(f));
    R(close(fd));
    FILE_IS("d");

    /* many wide lines, positions saved and restored */
    f = fopen(P("lines"), "w");
    for (int i = 0; i < 500; i++)
        fwprintf(f, L"Zeile %d: %lc%lc%lc\n", i, 0xe4 + i % 20, 0x20ac + i % 10, 0x6f22 + i % 50);
    V(fclose(f));
    FILE_IS("lines");
    f = fopen(P("lines"), "r");
    fpos_t pos;
    uint64_t h = 0xcbf29ce484222325u;
    for (int i = 0; fgetws(w, 300, f); i++) {
        h = hash_more(h, w, wcslen(w) * sizeof *w);
        if (i == 250)
            V(fgetpos(f, &pos));
    }
    say("%016lx\n", (unsigned long)h);
    V(fsetpos(f, &pos));
    V(fgetws(w, 300, f) != NULL);
    V(fwide(f, 0));
    V(wcstol(w + 6, NULL, 10));
    V(fclose(f));

    /* an invalid byte */
    fd = F(open(P("bad"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "ok\xff\xfe", 4));
    R(close(fd));
    f = fopen(P("bad"), "r");
    V(fgetwc(f));
    V(fgetwc(f));
    errno = 0;
    wint_t c = fgetwc(f);
    say("%d %s err %d\n", (int)c, ename(errno), ferror(f) != 0);
    V(fclose(f));

    /* ccs= */
    f = fopen(P("ccs"), "w,ccs=UTF-8");
    V(f != NULL);
    if (f) {
        V(fwide(f, 0) > 0);
        V(fputws(L"übung\n", f));
        V(fclose(f));
    }
    FILE_IS("ccs");
    f = fopen(P("ccs"), "r,ccs=UTF-8");
    V(f != NULL);
    if (f) {
        V(fgetws(w, 300, f) != NULL);
        V(wcslen(w));
        V(fclose(f));
    }
    f = fopen(P("latin"), "w,ccs=ISO-8859-1");
    V(f != NULL);
    if (f) {
        V(fputws(L"übung\n", f));
        V(fclose(f));
        FILE_IS("latin");
    }
    f = fopen(P("ccs"), "r,ccs=NO-SUCH-SET");
    V(f != NULL);
    if (f)
        fclose(f);

    /* set wide before any use, byte I/O refused after; freopen clears the orientation */
    f = fopen(P("o"), "w+");
    V(fwide(f, 1));
    V(fputs("bytes", f));
    V(fputws(L"wide", f));
    f = freopen(P("o2"), "w+", f);
    V(f != NULL);
    V(fwide(f, 0));
    V(fputs("bytes", f));
    V(fwide(f, 0));
    V(fputwc(L'w', f));
    V(fclose(f));
    FILE_IS("o");
    FILE_IS("o2");

    /* a wide append, and a wide stream on a duplicate */
    f = fopen(P("o2"), "a+");
    V(fputws(L"änderung", f));
    V(fclose(f));
    FILE_IS("o2");
    fd = F(open(P("o2"), O_RDWR));
    R(pwrite(fd, "B", 1, 0));
    f = fdopen(dup(fd), "r+");
    V(fgetws(w, 5, f) != NULL);
    V(wcslen(w));
    V(fseek(f, 0, SEEK_CUR));
    V(fputwc(L'é', f));
    V(fclose(f));
    R(pread(fd, b, 100, 0));
    CONTENT(fd);
    R(close(fd));

    /* unlocked twins */
    f = fopen(P("ul"), "w+");
    V(fputwc_unlocked(L'ñ', f));
    V(putwc_unlocked(L'n', f));
    V(fputws_unlocked(L" ok\n", f));
    rewind(f);
    V(fgetwc_unlocked(f));
    V(getwc_unlocked(f));
    V(fgetws_unlocked(w, 10, f) != NULL);
    V(fclose(f));
    FILE_IS("ul");
    return 0;
}
