/* What every consistency must keep, also session and relaxed: bytes written before a close or an fsync are seen by
 * whoever opens after it, in any process; and one process always sees its own writes. */
#include "common.h"

#define N 3
static struct gate to[N], back;

/* Runs `f` in process `i` and waits until it has closed. */
static void turn(int i)
{
    pass(to[i], 1);
    await(back, 1);
}

static int check_all(const char *name, const char *want, size_t size)
{
    int fd = open(P(name), O_RDONLY), bad = 0;
    struct stat st;
    char *got = grab(size + 10);
    bad += fstat(fd, &st) != 0 || (size_t)st.st_size != size;
    bad += pread(fd, got, size + 10, 0) != (ssize_t)size || memcmp(got, want, size);
    bad += close(fd) != 0;
    free(got);
    return bad;
}

/* The same in every process: what round r of writer w puts into the model. */
static size_t step(char *model, size_t size, int r, int fd)
{
    uint64_t s = mix((uint64_t)r);
    size_t at = s % 60000, len = 1 + (s >> 20) % (r % 4 == 0 ? 90000 : 700);
    char *b = fill(grab(len), len, s);
    if (r % 7 == 6) {
        at = (s >> 8) % 50000;
        if (fd >= 0 && ftruncate(fd, (off_t)at))
            die("ftruncate");
        if (at < size)
            memset(model + at, 0, size - at);
        size = at;
    } else if (r % 5 == 3) {
        if (fd >= 0 && (lseek(fd, 0, SEEK_END) != (off_t)size || write(fd, b, len) != (ssize_t)len))
            die("append");
        memcpy(model + size, b, len);
        size += len;
    } else {
        if (fd >= 0 && pwrite(fd, b, len, (off_t)at) != (ssize_t)len)
            die("pwrite");
        memcpy(model + at, b, len);
        if (at + len > size)
            size = at + len;
    }
    free(b);
    return size;
}

#define ROUNDS 90
static char model[ROUNDS * 100000];

int main(int argc, char **argv)
{
    begin(argc, argv);
    back = gate();
    pid_t pid[N];
    for (int i = 0; i < N; i++)
        to[i] = gate();
    make("f", 0, 0);
    for (int i = 0; i < N; i++)
        if ((pid[i] = fork()) == 0) {
            size_t size = 0;
            int bad = 0;
            for (int r = 0; r < ROUNDS; r++) {
                if (r % N != i) {
                    size = step(model, size, r, -1);
                    continue;
                }
                await(to[i], 1);
                bad += check_all("f", model, size);
                int fd = open(P("f"), O_RDWR);
                size = step(model, size, r, fd);
                /* its own bytes, by this and by another descriptor of the same process */
                struct stat st;
                bad += fstat(fd, &st) || (size_t)st.st_size != size;
                char b[100];
                if (size >= 100)
                    bad += pread(fd, b, 100, (off_t)size - 100) != 100 || memcmp(b, model + size - 100, 100);
                bad += close(fd) != 0;
                pass(back, 1);
            }
            _exit(bad > 100 ? 100 : bad);
        }
    size_t size = 0;
    for (int r = 0; r < ROUNDS; r++) {
        turn(r % N);
        size = step(model, size, r, -1);
        if (check_all("f", model, size))
            say("round %d differs\n", r);
        if (r % 10 == 0)
            FILE_IS("f");
    }
    for (int i = 0; i < N; i++)
        REAP(pid[i]);

    /* fsync publishes as well: the writer keeps its descriptor, readers open anew */
    int fd = F(open(P("synced"), O_CREAT | O_RDWR, 0644));
    struct gate go = gate(), ok = gate();
    pid_t p = fork();
    if (p == 0) {
        int bad = 0;
        char want[400];
        for (int i = 0; i < 30; i++) {
            await(go, 1);
            int f = open(P("synced"), O_RDONLY);
            char b[400];
            fill(want, 300, (uint64_t)i);
            bad += pread(f, b, 300, i * 300) != 300 || memcmp(b, want, 300);
            bad += lseek(f, 0, SEEK_END) != (i + 1) * 300;
            close(f);
            pass(ok, 1);
        }
        _exit(bad);
    }
    for (int i = 0; i < 30; i++) {
        char b[300];
        fill(b, 300, (uint64_t)i);
        if (write(fd, b, 300) != 300 || (i % 2 ? fsync(fd) : fdatasync(fd)))
            die("write");
        pass(go, 1);
        await(ok, 1);
    }
    REAP(p);
    R(close(fd));
    FILE_IS("synced");

    /* stdio: fclose publishes */
    for (int i = 0; i < 10; i++) {
        p = fork();
        if (p == 0) {
            FILE *f = fopen(P("log"), "a");
            fprintf(f, "line %d of a child\n", i);
            _exit(fclose(f));
        }
        int st;
        waitpid(p, &st, 0);
        FILE *f = fopen(P("log"), "a");
        fprintf(f, "line %d of the parent, child %d\n", i, st);
        fclose(f);
    }
    FILE_IS("log");

    /* rename over and unlink between processes */
    for (int i = 0; i < 10; i++) {
        p = fork();
        if (p == 0) {
            make("new", (size_t)(1000 + i * 777), (uint64_t)i);
            _exit(rename(P("new"), P("current")) != 0);
        }
        REAP(p);
        FILE_IS("current");
        if (i % 3 == 2)
            R(unlink(P("current")));
    }
    FILE_IS("current");
    return 0;
}
