/* O_APPEND with several descriptors, and with several processes: records are never torn, none is lost. */
#include "common.h"

struct record {
    uint32_t who, seq, len, sum;
    unsigned char body[240];
};

static void fill_record(struct record *r, uint32_t who, uint32_t seq)
{
    r->who = who;
    r->seq = seq;
    r->len = sizeof *r;
    fill(r->body, sizeof r->body, who * 100000u + seq);
    r->sum = (uint32_t)hash(r->body, sizeof r->body);
}

static void check(const char *name, int procs, int each, size_t size)
{
    int fd = open(P(name), O_RDONLY);
    uint32_t *next = calloc((size_t)procs, sizeof *next);
    char *b = grab(size);
    int torn = 0, order = 0, n = 0;
    while (read(fd, b, size) == (ssize_t)size) {
        struct record *r = (struct record *)b;
        n++;
        unsigned char want[240];
        if (r->who >= (uint32_t)procs || r->len != sizeof *r) {
            torn++;
            continue;
        }
        fill(want, sizeof want, r->who * 100000u + r->seq);
        if (memcmp(want, r->body, sizeof want) || r->sum != (uint32_t)hash(want, sizeof want))
            torn++;
        for (size_t i = sizeof *r; i < size; i++)
            if ((unsigned char)b[i] != (unsigned char)(r->who + 1)) {
                torn++;
                break;
            }
        if (r->seq != next[r->who])
            order++;
        next[r->who] = r->seq + 1;
    }
    struct stat st;
    fstat(fd, &st);
    say("%s: %d records of %d, %d torn, %d out of order, size %ld\n", name, n, procs * each, torn, order,
        (long)st.st_size);
    close(fd);
    free(b);
    free(next);
}

/* Each process opens for itself (or inherits), waits for the start, and appends. */
static void storm(const char *name, int procs, int each, size_t size, int inherit)
{
    int fd = inherit ? open(P(name), O_CREAT | O_WRONLY | O_APPEND, 0644) : -1;
    struct gate go = gate();
    pid_t pid[8];
    for (int p = 0; p < procs; p++)
        if ((pid[p] = fork()) == 0) {
            if (!inherit)
                fd = open(P(name), O_CREAT | O_WRONLY | O_APPEND, 0644);
            char *b = grab(size);
            memset(b, p + 1, size);
            await(go, 1);
            for (int s = 0; s < each; s++) {
                fill_record((struct record *)b, (uint32_t)p, (uint32_t)s);
                if (write(fd, b, size) != (ssize_t)size)
                    _exit(2);
            }
            _exit(close(fd) ? 3 : 0);
        }
    pass(go, procs);
    for (int p = 0; p < procs; p++)
        REAP(pid[p]);
    close(go.r);
    close(go.w);
    if (inherit)
        R(close(fd));
    check(name, procs, each, size);
    R(unlink(P(name)));
}

/* One process makes the file longer by writes at offsets of its own while another appends. What was appended before
 * such a write may be overwritten by it, but nothing lands in the midst of what it wrote. */
static void beside_a_growing_writer(void)
{
    enum { BLOCK = 70000, BLOCKS = 60 };
    static off_t at[BLOCKS];
    int grow = F(open(P("grown"), O_CREAT | O_RDWR, 0644));
    struct gate started = gate();
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(P("grown"), O_WRONLY | O_APPEND);
        for (int i = 0;; i++) {
            if (write(fd, "appended", 8) != 8)
                _exit(1);
            if (i == 10)
                pass(started, 1);
        }
    }
    await(started, 1);
    char *block = grab(BLOCK), *read = grab(BLOCK);
    for (int i = 0; i < BLOCKS; i++) {
        struct stat st;
        fstat(grow, &st);
        at[i] = st.st_size;
        if (pwrite(grow, fill(block, BLOCK, 1000 + i), BLOCK, at[i]) != BLOCK)
            die("pwrite");
    }
    kill(pid, SIGKILL);
    REAP(pid);
    int torn = 0;
    for (int i = 0; i < BLOCKS; i++)
        torn += pread(grow, read, BLOCK, at[i]) != BLOCK || memcmp(read, fill(block, BLOCK, 1000 + i), BLOCK);
    say("%d blocks have appended bytes in them\n", torn);
    R(close(grow));
    R(unlink(P("grown")));
    free(block);
    free(read);
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    char b[100];
    beside_a_growing_writer();
    int a = F(open(P("a"), O_CREAT | O_RDWR | O_APPEND, 0644));
    int c = F(open(P("a"), O_RDWR | O_APPEND));
    int n = F(open(P("a"), O_RDWR));
    R(write(a, "first", 5));
    R(write(c, "second", 6));
    R(write(a, "third", 5));
    R(lseek(a, 0, SEEK_CUR));
    R(lseek(c, 0, SEEK_CUR));
    R(write(n, "FIR", 3));
    R(lseek(a, 2, SEEK_SET));
    R(read(a, b, 6));
    say("%.6s\n", b);
    R(write(a, "+", 1));
    R(lseek(a, 0, SEEK_CUR));
    CONTENT(a);
    R(ftruncate(n, 4));
    R(write(c, "after", 5));
    R(lseek(c, 0, SEEK_CUR));
    R(ftruncate(n, 20));
    R(write(a, "hole", 4));
    CONTENT(a);
    R(lseek(n, 1000, SEEK_SET));
    R(write(n, "far", 3));
    R(write(a, "end", 3));
    R(lseek(a, 0, SEEK_CUR));
    FSIZE(a);
    CONTENT(c);
    R(write(a, b, 0));
    R(lseek(a, 0, SEEK_CUR));
    char *big = fill(grab(100000), 100000, 1);
    R(write(a, big, 100000));
    R(write(c, "small", 5));
    R(write(a, big, 65536));
    R(write(c, big, 65535));
    R(lseek(c, 0, SEEK_CUR));
    CONTENT(c);
    R(close(a));
    R(close(c));
    R(close(n));
    FILE_IS("a");

    storm("p256", 4, 400, 256, 0);
    storm("i256", 4, 400, 256, 1);
    storm("p5000", 3, 100, 5000, 0);
    storm("p70000", 3, 30, 70000, 0);
    storm("i70000", 3, 30, 70000, 1);

    /* alternating small and large from two processes in a fixed order */
    int fd = F(open(P("alt"), O_CREAT | O_RDWR | O_APPEND, 0644));
    struct gate up = gate(), down = gate();
    pid_t pid = fork();
    if (pid == 0) {
        int f = open(P("alt"), O_WRONLY | O_APPEND);
        for (int i = 0; i < 20; i++) {
            await(down, 1);
            size_t len = i % 3 == 0 ? 70001 : 33;
            char *d = fill(grab(len), len, 500 + (uint64_t)i);
            if (write(f, d, len) != (ssize_t)len)
                _exit(1);
            free(d);
            pass(up, 1);
        }
        _exit(close(f));
    }
    for (int i = 0; i < 20; i++) {
        char d[77];
        fill(d, sizeof d, 900 + (uint64_t)i);
        if (write(fd, d, sizeof d) != sizeof d)
            die("write");
        pass(down, 1);
        await(up, 1);
        FSIZE(fd);
    }
    REAP(pid);
    CONTENT(fd);
    R(close(fd));
    FILE_IS("alt");
    return 0;
}
