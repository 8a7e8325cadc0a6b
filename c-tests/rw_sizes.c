/* read and write at every size round the boundaries: cache line, sector, page, threshold, segment. */
#include "common.h"

static const size_t sizes[] = {1,     2,     63,     64,     65,     511,    512,     513,     4095,    4096,   4097,
                               65535, 65536, 65537,  262143, 262144, 262145, 1048575, 1048576, 1048577};
#define N (sizeof sizes / sizeof *sizes)

static void reread(int fd, size_t total, size_t step)
{
    char *b = grab(step);
    uint64_t h = 0xcbf29ce484222325u;
    size_t got = 0, calls = 0;
    if (lseek(fd, 0, SEEK_SET) != 0)
        die("lseek");
    for (;;) {
        ssize_t n = read(fd, b, step);
        if (n < 0)
            die("read");
        calls++;
        if (n == 0)
            break;
        if ((size_t)n != step && got + (size_t)n != total)
            say("  short read: %zd of %zu at %zu\n", n, step, got);
        h = hash_more(h, b, (size_t)n);
        got += (size_t)n;
    }
    say("  step %zu: %zu bytes in %zu calls, hash %016lx, offset %ld\n", step, got, calls, (unsigned long)h,
        (long)lseek(fd, 0, SEEK_CUR));
    free(b);
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    size_t max = sizes[N - 1];
    char *b = grab(max), *c = grab(max);

    /* one file a size: five writes of it, read back in other steps while open and after close */
    for (size_t i = 0; i < N; i++) {
        char n[32];
        snprintf(n, sizeof n, "s%zu", sizes[i]);
        int fd = open(P(n), O_CREAT | O_RDWR, 0644);
        for (int k = 0; k < 5; k++) {
            fill(b, sizes[i], i * 10 + (size_t)k);
            ssize_t w = write(fd, b, sizes[i]);
            if (w != (ssize_t)sizes[i])
                say("write %zu = %zd %s\n", sizes[i], w, ename(errno));
        }
        say("size %zu: end %ld\n", sizes[i], (long)lseek(fd, 0, SEEK_CUR));
        if (sizes[i] <= 65)
            reread(fd, 5 * sizes[i], 1);
        reread(fd, 5 * sizes[i], sizes[i]);
        reread(fd, 5 * sizes[i], sizes[i] * 3 - 1);
        reread(fd, 5 * sizes[i], 65536);
        if (close(fd))
            die("close");
        FILE_IS(n);
    }

    /* one file, all sizes one after another and then overwritten at odd places */
    int fd = F(open(P("all"), O_CREAT | O_RDWR, 0600));
    size_t total = 0;
    for (size_t i = 0; i < N; i++) {
        fill(b, sizes[i], 100 + i);
        total += (size_t)R(write(fd, b, sizes[i]));
    }
    reread(fd, total, 777777);
    for (size_t i = 0; i < N; i++) {
        off_t at = (off_t)(mix(i) % total);
        fill(b, sizes[i], 200 + i);
        R(pwrite(fd, b, sizes[i], at));
        R(pread(fd, c, sizes[i], at));
        say("same %d\n", memcmp(b, c, sizes[i]));
    }
    CONTENT(fd);
    /* each boundary, byte by byte round it */
    for (size_t i = 0; i < N; i++)
        for (long d = -1; d <= 1; d++) {
            char v = (char)('A' + i);
            if (pwrite(fd, &v, 1, (off_t)sizes[i] + d) != 1)
                die("pwrite");
            char g[3] = "";
            ssize_t n = pread(fd, g, 3, (off_t)sizes[i] + d - 1);
            say("%zu%+ld: %zd %02x %02x %02x\n", sizes[i], d, n, g[0] & 255, g[1] & 255, g[2] & 255);
        }
    CONTENT(fd);
    R(close(fd));
    FILE_IS("all");

    /* many small, random */
    fd = F(open(P("random"), O_CREAT | O_RDWR, 0600));
    uint64_t s = 7;
    for (int k = 0; k < 3000; k++) {
        s = mix(s);
        size_t len = s % 600;
        off_t at = (off_t)((s >> 20) % 300000);
        fill(b, len, s);
        if (pwrite(fd, b, len, at) != (ssize_t)len)
            die("pwrite");
        if (k % 7 == 0) {
            ssize_t n = pread(fd, c, 2000, (off_t)((s >> 40) % 310000));
            if (k % 210 == 0)
                say("read %d: %zd %016lx\n", k, n, (unsigned long)hash(c, n > 0 ? (size_t)n : 0));
        }
    }
    CONTENT(fd);
    R(close(fd));
    FILE_IS("random");
    return 0;
}
