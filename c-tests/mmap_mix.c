/* mmap, shared and private, mixed with staged writes; msync, mremap, munmap; mappings that outlive the descriptor. */
#include "common.h"
#include <sys/mman.h>

int main(int argc, char **argv)
{
    begin(argc, argv);
    char b[300];
    char *big = fill(grab(300000), 300000, 6);
    int fd = F(open(P("m"), O_CREAT | O_RDWR, 0644));

    /* staged bytes are in the mapping, mapped stores are in reads */
    R(write(fd, big, 20000));
    R(pwrite(fd, "staged", 6, 5000));
    char *m = mmap(NULL, 20000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    say("map %s, %.6s, hash %016lx\n", m == MAP_FAILED ? ename(errno) : "ok", m + 5000, (unsigned long)hash(m, 20000));
    memcpy(m + 100, "by the mapping", 14);
    R(pread(fd, b, 20, 98));
    say("%016lx %.14s\n", (unsigned long)hash(b, 20), b + 2);
    R(pwrite(fd, "by write", 8, 200));
    say("%.8s\n", m + 200);
    R(write(fd, "at the offset", 13));
    R(msync(m, 20000, MS_SYNC));
    R(msync(m, 4096, MS_ASYNC));
    FILE_IS("m");
    R(msync(m + 1, 4096, MS_SYNC));
    R(lseek(fd, 0, SEEK_SET));
    R(read(fd, b, 300));
    say("%016lx\n", (unsigned long)hash(b, 300));

    /* the file grows below the mapping's end */
    R(ftruncate(fd, 24000));
    m[20200] = 'G';
    R(pread(fd, b, 3, 20199));
    say("%02x %02x %02x\n", b[0] & 255, b[1] & 255, b[2] & 255);
    R(munmap(m, 20000));
    CONTENT(fd);
    R(pwrite(fd, "after munmap", 12, 300));
    CONTENT(fd);
    R(close(fd));
    FILE_IS("m");

    /* private: our stores stay ours */
    fd = F(open(P("m"), O_RDWR));
    R(pwrite(fd, "before", 6, 0));
    m = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    say("%.6s\n", m);
    memcpy(m, "private", 7);
    R(pread(fd, b, 7, 0));
    say("%.7s\n", b);
    R(munmap(m, 8192));

    /* close the descriptor, keep the mapping */
    m = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 4096);
    R(close(fd));
    memcpy(m, "no descriptor", 13);
    fd = F(open(P("m"), O_RDWR));
    R(pread(fd, b, 13, 4096));
    say("%.13s\n", b);
    R(pwrite(fd, "another descriptor", 18, 4196));
    say("%.18s\n", m + 100);
    int fd2 = F(open(P("m"), O_WRONLY));
    R(pwrite(fd2, "third", 5, 4300));
    say("%.5s\n", m + 204);
    R(close(fd2));
    R(munmap(m, 8192));
    R(close(fd));
    FILE_IS("m");

    /* mapped first, written by another descriptor and another process after */
    fd = F(open(P("n"), O_CREAT | O_RDWR, 0644));
    R(ftruncate(fd, 65536));
    m = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    fd2 = F(open(P("n"), O_RDWR));
    for (int i = 0; i < 16; i++)
        if (pwrite(fd2, "second fd", 9, i * 4096 + 4090) != 9)
            die("pwrite");
    say("hash %016lx\n", (unsigned long)hash(m, 65536));
    pid_t pid = fork();
    if (pid == 0) {
        int own = open(P("n"), O_RDWR);
        if (pwrite(own, "process", 7, 33) != 7)
            _exit(1);
        memcpy(m + 60, "child's map", 11);
        say("child reads %ld\n", (long)pread(own, b, 11, 60));
        say("%.11s\n", b);
        _exit(0);
    }
    REAP(pid);
    say("%.7s %.11s\n", m + 33, m + 60);
    R(pread(fd, b, 40, 33));
    say("%016lx\n", (unsigned long)hash(b, 40));
    /* a process mapped it while we have staged bytes */
    int fd3 = F(open(P("o"), O_CREAT | O_RDWR, 0644));
    R(write(fd3, big, 10000));
    pid = fork();
    if (pid == 0) {
        int own = open(P("o"), O_RDWR);
        char *c = mmap(NULL, 10000, PROT_READ | PROT_WRITE, MAP_SHARED, own, 0);
        if (memcmp(c, big, 10000))
            say("child's mapping differs\n");
        memcpy(c + 10, "mapped by child", 15);
        _exit(0);
    }
    REAP(pid);
    R(pread(fd3, b, 30, 5));
    say("%016lx\n", (unsigned long)hash(b, 30));
    R(pwrite(fd3, "ours", 4, 0));
    CONTENT(fd3);
    R(close(fd3));
    FILE_IS("o");

    /* mremap */
    R(ftruncate(fd, 200000));
    char *m2 = mremap(m, 65536, 200000, MREMAP_MAYMOVE);
    say("mremap %s\n", m2 == MAP_FAILED ? ename(errno) : "ok");
    memcpy(m2 + 150000, "far end", 7);
    R(pread(fd, b, 7, 150000));
    say("%.7s\n", b);
    R(munmap(m2, 200000));
    R(close(fd));
    R(close(fd2));
    FILE_IS("n");

    /* fork shares a mapping */
    fd = F(open(P("p"), O_CREAT | O_RDWR, 0644));
    R(write(fd, big, 5000));
    m = mmap(NULL, 5000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    pid = fork();
    if (pid == 0) {
        memcpy(m + 1000, "from child", 10);
        _exit(0);
    }
    REAP(pid);
    say("%.10s\n", m + 1000);
    R(close(fd));
    /* left mapped at exit, with a last store */
    memcpy(m + 2000, "never unmapped", 14);
    FILE_IS("p");

    /* errors */
    fd = F(open(P("p"), O_RDONLY));
    F(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
    F(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0) == MAP_FAILED ? -1 : 0);
    F(mmap(NULL, 0, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
    F(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 1) == MAP_FAILED ? -1 : 0);
    F(mmap(NULL, 4096, PROT_READ, 0, fd, 0) == MAP_FAILED ? -1 : 0);
    R(close(fd));
    F(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
    fd = F(open(P("p"), O_WRONLY));
    F(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
    R(close(fd));

    /* beyond the end of a mapped file: SIGBUS for a whole page, as the kernel says */
    pid = fork();
    if (pid == 0) {
        int f = open(P("q"), O_CREAT | O_RDWR, 0644);
        if (write(f, "short", 5) != 5)
            _exit(1);
        char *q = mmap(NULL, 8192, PROT_READ, MAP_SHARED, f, 0);
        say("inside the page %d\n", q[4000]);
        _exit(q[5000] + 1);
    }
    REAP(pid);
    FILE_IS("q");
    return 0;
}
