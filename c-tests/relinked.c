/* A program written for Iris: linked with -liris and pkg-config, it asks for the version and has a file settled. */
#include "common.h"
#include <iris.h>
#include <sys/syscall.h>

/* What a program without Iris would read: the kernel's bytes, by an instruction of our own. */
static long kernel_reads(int fd, void *buf, long len)
{
    long r;
    register long r10 __asm__("r10") = 0;
    __asm__ volatile("syscall" : "=a"(r) : "a"(SYS_pread64), "D"(fd), "S"(buf), "d"(len), "r"(r10) : "rcx", "r11", "memory");
    return r;
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    int major = -1, minor = -1;
    say("version %d\n", sscanf(iris_version(), "%d.%d", &major, &minor) == 2 && major >= 0 && minor >= 0);
    char b[100];
    int fd = F(open(P("f"), O_CREAT | O_RDWR, 0644));
    for (int i = 0; i < 10; i++)
        if (write(fd, "0123456789", 10) != 10)
            die("write");
    /* staged, not yet there: else this program shows nothing */
    say("kernel reads %ld before\n", kernel_reads(fd, b, 100));
    R(iris_settle(P("f")));
    say("kernel reads %ld after, hash %016lx\n", kernel_reads(fd, b, 100), (unsigned long)hash(b, 100));
    R(pwrite(fd, "staged again", 12, 50));
    CONTENT(fd);
    R(iris_settle("/proc/self/maps"));
    R(iris_settle(P("f")));
    R(close(fd));
    FILE_IS("f");
    return 0;
}
