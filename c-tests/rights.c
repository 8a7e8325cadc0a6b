/* What the kernel refuses for whose it is: files of other users, and a limit on sizes that nobody may lift again. */
#include "common.h"
#include "size_limit.h"
#include <grp.h>
#include <sys/resource.h>

static void as_nobody(void)
{
    int fd = F(open(P("secret"), O_RDONLY));
    fd = F(open(P("readable"), O_RDONLY));
    CONTENT(fd);
    R(write(fd, "x", 1));
    R(fchmod(fd, 0777));
    R(futimens(fd, (struct timespec[]){{1, 0}, {1, 0}}));
    R(close(fd));
    F(open(P("readable"), O_RDWR));
    F(open(P("readable"), O_RDONLY | O_TRUNC));
    F(open(P("readable"), O_RDONLY | O_NOATIME));
    F(open(P("new"), O_CREAT | O_RDWR, 0644));
    R(truncate(P("readable"), 0));
    R(unlink(P("readable")));
    R(rename(P("readable"), P("r2")));
    R(mkdir(P("nd"), 0755));
    F(open(P("closed/f"), O_RDONLY));
    R(access(P("closed/f"), F_OK));
    fd = F(open(P("open/mine"), O_CREAT | O_RDWR, 0600));
    R(write(fd, "nobody's own", 12));
    R(fchmod(fd, 0));
    R(write(fd, ", still open", 12));
    F(open(P("open/mine"), O_RDWR));
    R(fchmod(fd, 0644));
    R(close(fd));
    FILE_IS("open/mine");
    fd = F(open(P("writeonly"), O_WRONLY | O_APPEND));
    R(write(fd, " by nobody", 10));
    R(close(fd));
    F(open(P("writeonly"), O_RDONLY));
    fd = F(open(P("shared"), O_RDWR));
    R(pwrite(fd, "NOBODY", 6, 3));
    CONTENT(fd);
    R(close(fd));
}

int main(int argc, char **argv)
{
    begin(argc, argv);

    /* RLIMIT_FSIZE, which stays */
    writes_up_to_a_limit(10000);

    /* permissions */
    make("secret", 10, 1);
    make("readable", 10, 1);
    make("writeonly", 10, 1);
    make("shared", 10, 1);
    R(chmod(P("secret"), 0600));
    R(chmod(P("writeonly"), 0622));
    R(chmod(P("shared"), 0666));
    R(mkdir(P("closed"), 0700));
    make("closed/f", 10, 1);
    R(mkdir(P("open"), 01777));
    R(chmod(P("open"), 01777));
    int keep = F(open(P("secret"), O_RDWR));
    R(pwrite(keep, "kept", 4, 0));
    int mine = F(open(P("shared"), O_RDWR));
    R(write(mine, "root", 4));
    pid_t pid = fork();
    if (pid == 0) {
        R(setgroups(0, NULL));
        R(setgid(65534));
        R(setuid(65534));
        as_nobody();
        R(write(keep, "inherited", 9)); /* opened before: the right stays */
        CONTENT(keep);
        _exit(0);
    }
    REAP(pid);
    CONTENT(keep);
    CONTENT(mine);
    R(write(mine, " again", 6));
    R(close(mine));
    R(close(keep));
    FILE_IS("secret");
    FILE_IS("shared");
    FILE_IS("writeonly");
    return 0;
}
