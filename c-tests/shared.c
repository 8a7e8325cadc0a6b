/* Several processes with descriptors of their own on one file: a write that returned is seen by every later read. */
#include "common.h"
#define N 4
#define ROUNDS 25

static struct gate to[N], back;

static void everyone(void)
{
    for (int i = 0; i < N; i++)
        pass(to[i], 1);
    await(back, N);
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    back = gate();
    pid_t pid[N];
    for (int i = 0; i < N; i++)
        to[i] = gate();
    int fd = F(open(P("s"), O_CREAT | O_RDWR, 0644));
    for (int i = 0; i < N; i++)
        if ((pid[i] = fork()) == 0) {
            /* phases are announced by the parent; everyone checks what everyone wrote */
            int f = open(P("s"), O_RDWR);
            char b[4000];
            int bad = 0;
            for (int r = 0; r < ROUNDS; r++) {
                await(to[i], 1); /* write: disjoint slots */
                for (int k = 0; k < 10; k++) {
                    size_t len = 100 + (size_t)r * 7;
                    fill(b, len, (uint64_t)(r * 1000 + i * 10 + k));
                    if (pwrite(f, b, len, (k * N + i) * 1000) != (ssize_t)len)
                        bad++;
                }
                pass(back, 1);
                await(to[i], 1); /* read all slots */
                for (int k = 0; k < 10; k++)
                    for (int j = 0; j < N; j++) {
                        char w[4000];
                        size_t len = 100 + (size_t)r * 7;
                        fill(w, len, (uint64_t)(r * 1000 + j * 10 + k));
                        if (pread(f, b, len, (k * N + j) * 1000) != (ssize_t)len || memcmp(b, w, len))
                            bad++;
                    }
                pass(back, 1);
            }
            /* overlapping regions: last writer wins, in an order given by turns */
            for (int r = 0; r < ROUNDS; r++) {
                await(to[i], 1);
                fill(b, 3000, (uint64_t)(r * 17 + i));
                if (pwrite(f, b, 3000, 100000 + (i * 700 + r * 13) % 2000) != 3000)
                    bad++;
                pass(back, 1);
            }
            /* growth and shrink seen by all */
            await(to[i], 1);
            struct stat st;
            fstat(f, &st);
            if (i == 0 && st.st_size < 100000)
                bad++;
            if (lseek(f, 0, SEEK_END) != st.st_size)
                bad++;
            pass(back, 1);
            await(to[i], 1);
            fstat(f, &st);
            if (st.st_size != 12345 || lseek(f, 0, SEEK_END) != 12345 || read(f, b, 10) != 0)
                bad++;
            pass(back, 1);
            close(f);
            _exit(bad > 100 ? 100 : bad);
        }
    for (int r = 0; r < ROUNDS; r++) {
        everyone();
        everyone();
        if (r % 5 == 0)
            CONTENT(fd);
    }
    for (int r = 0; r < ROUNDS; r++) {
        for (int i = 0; i < N; i++) {
            pass(to[(i + r) % N], 1);
            await(back, 1);
        }
        CONTENT(fd);
    }
    everyone();
    R(ftruncate(fd, 12345));
    everyone();
    for (int i = 0; i < N; i++)
        REAP(pid[i]);
    CONTENT(fd);
    R(close(fd));
    FILE_IS("s");

    /* one writes by write() in small steps, another reads the tail by its own name and by stat */
    fd = F(open(P("tail"), O_CREAT | O_WRONLY, 0644));
    struct gate go = gate(), ok = gate();
    pid_t p = fork();
    if (p == 0) {
        int f = open(P("tail"), O_RDONLY), bad = 0;
        char b[64];
        for (int i = 0; i < 200; i++) {
            await(go, 1);
            struct stat st, ls;
            stat(P("tail"), &st);
            fstat(f, &ls);
            if (st.st_size != (i + 1) * 10 || ls.st_size != st.st_size)
                bad++;
            ssize_t n = read(f, b, sizeof b);
            if (n != 10 || b[0] != 'a' + i % 26 || b[9] != '\n')
                bad++;
            if (read(f, b, 1) != 0)
                bad++;
            pass(ok, 1);
        }
        _exit(bad);
    }
    for (int i = 0; i < 200; i++) {
        char b[10];
        memset(b, 'a' + i % 26, 9);
        b[9] = '\n';
        if (write(fd, b, 10) != 10)
            die("write");
        pass(go, 1);
        await(ok, 1);
    }
    REAP(p);
    R(close(fd));
    FILE_IS("tail");

    /* small and large writes to the same bytes from two processes in turn */
    fd = F(open(P("mix"), O_CREAT | O_RDWR, 0644));
    p = fork();
    char *big = grab(200000);
    if (p == 0) {
        int f = open(P("mix"), O_RDWR);
        for (int i = 0; i < 20; i++) {
            await(go, 1);
            fill(big, 100000, (uint64_t)i);
            if (pwrite(f, big, 100000, i * 1000) != 100000)
                _exit(1);
            pass(ok, 1);
        }
        _exit(0);
    }
    for (int i = 0; i < 20; i++) {
        fill(big, 900, 1000 + (uint64_t)i);
        R(pwrite(fd, big, 900, i * 1500 + 100));
        pass(go, 1);
        await(ok, 1);
        R(pwrite(fd, big, 900, i * 5000));
        CONTENT(fd);
    }
    REAP(p);
    R(close(fd));
    FILE_IS("mix");
    return 0;
}
