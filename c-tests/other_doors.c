/* Other doors to an open file: /proc/self/fd, /dev/fd, descriptors over a socket, pidfd_getfd, open by handle. */
#include "common.h"
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

static void send_fd(int sock, int *fds, int n)
{
    char c[CMSG_SPACE(sizeof(int) * 4)] = {0};
    struct iovec v = {"f", 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)n)};
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)n);
    memcpy(CMSG_DATA(h), fds, sizeof(int) * (size_t)n);
    R(sendmsg(sock, &m, 0));
}
static int recv_fd(int sock, int *fds)
{
    char c[CMSG_SPACE(sizeof(int) * 4)] = {0}, b[1];
    struct iovec v = {b, 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof c};
    R(recvmsg(sock, &m, 0));
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    int n = h ? (int)((h->cmsg_len - CMSG_LEN(0)) / sizeof(int)) : 0;
    memcpy(fds, CMSG_DATA(h), sizeof(int) * (size_t)n);
    return n;
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    char b[200], path[64];
    /* reopen through /proc */
    int fd = F(open(P("f"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "staged bytes", 12));
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int r = F(open(path, O_RDONLY));
    CONTENT(r);
    R(pwrite(fd, "STAGED", 6, 0));
    R(read(r, b, 12));
    say("%.12s\n", b);
    int w = F(open(path, O_WRONLY | O_APPEND));
    R(write(w, " appended", 9));
    CONTENT(fd);
    snprintf(path, sizeof path, "/dev/fd/%d", fd);
    int t = F(open(path, O_RDWR | O_TRUNC));
    FSIZE(fd);
    R(write(fd, "x", 1));
    R(write(t, "truncated", 9));
    CONTENT(r);
    R(close(r));
    R(close(w));
    R(close(t));
    struct stat st;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    R(stat(path, &st));
    say("%ld\n", (long)st.st_size);
    ssize_t n = readlink(path, b, sizeof b);
    say("link ends with f: %d\n", n > 2 && b[n - 1] == 'f' && b[n - 2] == '/');
    /* unlinked, and reached again through /proc */
    R(unlink(P("f")));
    R(write(fd, " unlinked", 9));
    r = F(open(path, O_RDWR));
    CONTENT(r);
    R(pwrite(r, "through proc", 12, 2));
    CONTENT(fd);
    R(linkat(AT_FDCWD, path, AT_FDCWD, P("back"), AT_SYMLINK_FOLLOW));
    R(close(r));
    R(close(fd));
    /* another process' descriptors */
    fd = F(open(P("o"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "parent's bytes", 14));
    pid_t parent = getpid();
    struct gate go = gate();
    pid_t pid = fork();
    if (pid == 0) {
        snprintf(path, sizeof path, "/proc/%d/fd/%d", parent, fd);
        int f = F(open(path, O_RDWR));
        CONTENT(f);
        R(pwrite(f, "CHILD", 5, 0));
        R(close(f));
        _exit(0);
    }
    REAP(pid);
    CONTENT(fd);

    /* passed over a socket, before and after staged writes, to a child that shares nothing else */
    int sv[2];
    R(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
    pid = fork();
    if (pid == 0) {
        close(fd);
        await(go, 1);
        int got[4];
        int k = recv_fd(sv[1], got);
        say("got %d\n", k);
        R(lseek(got[0], 0, SEEK_CUR));
        R(write(got[0], "by the receiver", 15));
        CONTENT(got[0]);
        CONTENT(got[1]);
        R(write(got[1], "second", 6));
        R(close(got[0]));
        R(close(got[1]));
        send_fd(sv[1], (int[]){open(P("made"), O_CREAT | O_RDWR, 0644)}, 1);
        _exit(0);
    }
    R(write(fd, " sent ", 6));
    int second = F(open(P("second"), O_CREAT | O_RDWR | O_APPEND, 0644));
    R(write(second, "staged second ", 14));
    send_fd(sv[0], (int[]){fd, second}, 2);
    pass(go, 1);
    REAP(pid);
    R(lseek(fd, 0, SEEK_CUR));
    R(write(fd, " after", 6));
    R(write(second, "third", 5));
    CONTENT(fd);
    CONTENT(second);
    int got[4];
    recv_fd(sv[0], got);
    R(write(got[0], "received", 8));
    CONTENT(got[0]);
    R(close(got[0]));
    FILE_IS("made");
    /* received in the same process: another number of the same description */
    send_fd(sv[0], (int[]){fd}, 1);
    recv_fd(sv[1], got);
    R(write(got[0], "+same", 5));
    R(lseek(fd, 0, SEEK_CUR));
    R(close(fd));
    R(write(got[0], "+alone", 6));
    CONTENT(got[0]);
    R(close(got[0]));
    R(close(second));
    FILE_IS("o");
    /* sent and closed before anybody receives it */
    fd = F(open(P("flying"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "in flight", 9));
    send_fd(sv[0], (int[]){fd}, 1);
    R(close(fd));
    FILE_IS("flying");
    recv_fd(sv[1], got);
    R(write(got[0], " landed", 7));
    FILE_IS("flying");
    R(close(got[0]));
    FILE_IS("flying");

    /* pidfd_getfd takes a descriptor out of another process */
    fd = F(open(P("taken"), O_CREAT | O_RDWR, 0644));
    R(write(fd, "mine", 4));
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    pid = fork();
    if (pid == 0) {
        close(fd);
        int pf = (int)syscall(SYS_pidfd_open, getppid(), 0);
        int g = F(syscall(SYS_pidfd_getfd, pf, fd, 0));
        R(write(g, " yours", 6));
        CONTENT(g);
        _exit(0);
    }
    REAP(pid);
    R(lseek(fd, 0, SEEK_CUR));
    R(write(fd, " ours", 5));
    R(close(fd));
    FILE_IS("taken");

    /* by handle */
    struct {
        struct file_handle h;
        char room[128];
    } fh = {.h.handle_bytes = 128};
    int mount_id;
    fd = F(open(P("taken"), O_RDWR));
    R(pwrite(fd, "handle", 6, 30));
    R(name_to_handle_at(AT_FDCWD, P("taken"), &fh.h, &mount_id, 0));
    int dir = open(P(""), O_RDONLY | O_DIRECTORY);
    int byh = F(open_by_handle_at(dir, &fh.h, O_RDWR));
    if (byh >= 0) {
        CONTENT(byh);
        R(write(byh, "HANDLE", 6));
        CONTENT(fd);
        R(close(byh));
    }
    R(close(fd));
    FILE_IS("taken");
    return 0;
}
