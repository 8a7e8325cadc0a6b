/* System call instructions of a program's own, mixed with the named functions. */
#include "common.h"
#include <sys/syscall.h>

/* No libc in between: nothing can see these but the kernel. */
static long naked(long n, long a, long b, long c, long d)
{
    long r;
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    if (r < 0 && r > -4096) {
        errno = (int)-r;
        return -1;
    }
    return r;
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    char b[30];
    /* instructions of our own: served after an fsync, as any program that mixes both must do */
    int fd = F(open(P("n"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "named", 5));
    R(fsync(fd));
    R(naked(SYS_pread64, fd, (long)b, 5, 0));
    say("%.5s\n", b);
    R(naked(SYS_pwrite64, fd, (long)"naked", 5, 20));
    R(pread(fd, b, 25, 0));
    say("%016lx\n", (unsigned long)hash(b, 25));
    R(close(fd));
    FILE_IS("n");
    return 0;
}
