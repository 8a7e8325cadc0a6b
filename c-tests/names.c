/* Every call that takes a name or gives one back: the working directory, canonical names, links of all kinds, dots,
 * temporary names, walks, patterns, sockets, watches, programs and libraries. Names are printed with "@" in the place
 * of the directory's own. */
#include "common.h"
#include <dlfcn.h>
#include <ftw.h>
#include <fts.h>
#include <glob.h>
#include <mntent.h>
#include <spawn.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <utime.h>

static char real[PATH_MAX]; /* the directory's canonical name */

/* A name without what differs between two directories. */
static const char *N(const char *name)
{
    static char ring[8][PATH_MAX + 64];
    static int next;
    char *p = ring[next++ & 7];
    size_t n = strlen(real), d = strlen(D);
    if (!name)
        return "(null)";
    if (strncmp(name, real, n) == 0 && (name[n] == '/' || name[n] == 0 || name[n] == ' '))
        snprintf(p, PATH_MAX, "@%s", name + n);
    else if (strncmp(name, D, d) == 0 && (name[d] == '/' || name[d] == 0))
        snprintf(p, PATH_MAX, "@%s", name + d);
    else if (strncmp(name, real, (size_t)(strrchr(real, '/') - real + 1)) == 0)
        snprintf(p, PATH_MAX, "beside it: %s", strrchr(real, '/') - real + 1 + name);
    else
        snprintf(p, PATH_MAX, "%s", name);
    return p;
}
#define S(expr)                                                                                                       \
    ({                                                                                                                \
        errno = 0;                                                                                                    \
        const char *s_ = (expr);                                                                                      \
        say("%d: %s = %s%s%s\n", __LINE__, #expr, N(s_), s_ ? "" : " ", s_ ? "" : ename(errno));                      \
    })

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}
static char *seen[256];
static int seens;
static void note(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (seens < 256 && vasprintf(&seen[seens++], fmt, ap) < 0)
        die("vasprintf");
    va_end(ap);
}
static void tell(const char *what)
{
    qsort(seen, (size_t)seens, sizeof *seen, compare);
    for (int i = 0; i < seens; i++) {
        say("%s: %s\n", what, seen[i]);
        free(seen[i]);
    }
    seens = 0;
}

static int walk_flags;
static int each_n(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    char here[PATH_MAX];
    note("%s base %s level %d kind %d size %ld cwd %s", N(path), path + at->base, at->level, kind,
         S_ISREG(st->st_mode) ? (long)st->st_size : 0L, walk_flags & FTW_CHDIR ? N(getcwd(here, sizeof here)) : "-");
    struct stat again;
    if (!(walk_flags & FTW_CHDIR) && lstat(path, &again) < 0)
        note("%s: %s", N(path), ename(errno));
    return 0;
}
static int each_f(const char *path, const struct stat *st, int kind)
{
    note("%s kind %d size %ld", N(path), kind, S_ISREG(st->st_mode) ? (long)st->st_size : 0L);
    return 0;
}

static void trees(const char *name, int options)
{
    char *argv[] = {(char *)name, NULL};
    FTS *t = fts_open(argv, options, NULL);
    if (!t) {
        say("fts_open %s: %s\n", N(name), ename(errno));
        return;
    }
    for (FTSENT *e; (e = fts_read(t));) {
        struct stat st;
        note("%s len %d name %s level %d info %d reached %d", N(e->fts_path),
             (int)(e->fts_pathlen - strlen(e->fts_path)), N(e->fts_name), e->fts_level, e->fts_info,
             lstat(e->fts_accpath, &st));
        if (e->fts_info == FTS_D)
            for (FTSENT *c = fts_children(t, 0); c; c = c->fts_link)
                note("child %s of %s", c->fts_name, N(e->fts_path));
    }
    R(fts_close(t));
    tell("fts");
}

static void patterns(const char *pattern, int flags)
{
    glob_t g;
    memset(&g, 0, sizeof g);
    int r = glob(pattern, flags, NULL, &g);
    say("glob %s = %d: %ld flags %d\n", N(pattern), r, (long)g.gl_pathc, g.gl_flags & ~(GLOB_MAGCHAR));
    for (size_t i = 0; r == 0 && i < g.gl_pathc; i++)
        say("  %s\n", N(g.gl_pathv[i]));
    globfree(&g);
}

static void links(void)
{
    char b[PATH_MAX];
    static const struct {
        const char *text, *name;
    } made[] = {
        {"a/f", "relative"}, {"@/a/f", "absolute"}, {"@", "root"}, {"@/absent", "dangling"}, {"@//a/./b/../f", "odd"},
        {"../outside/f", "escapes"}, {"a/../../outside/f", "escapes-later"}, {"@/../outside/f", "leaves"},
        {"loop2", "loop1"}, {"@/loop1", "loop2"}, {"chain2", "chain1"}, {"@/chain3", "chain2"}, {"a", "chain3"},
    };
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        snprintf(b, sizeof b, "%.2000s%.200s", *made[i].text == '@' ? real : "", made[i].text + (*made[i].text == '@'));
        R(symlink(b, P(made[i].name)));
        char back[PATH_MAX] = "";
        ssize_t n = readlink(P(made[i].name), back, sizeof back - 1);
        struct stat st, there;
        int l = lstat(P(made[i].name), &st), s = stat(P(made[i].name), &there);
        say("%s reads %s, as given %d, size %d, to %s\n", made[i].name, n < 0 ? ename(errno) : "its text",
            n >= 0 && strcmp(back, b) == 0, l == 0 && st.st_size == (off_t)strlen(b),
            s == 0 ? (S_ISDIR(there.st_mode) ? "a directory" : "a file") : ename(errno));
        snprintf(b, sizeof b, "%.4000s/", P(made[i].name));
        say("  with a slash: %s\n", stat(b, &there) == 0 ? "a directory" : ename(errno));
        S(realpath(P(made[i].name), b));
    }
    FILE_IS("absolute");
    FILE_IS("escapes");
    FILE_IS("leaves");
    FILE_IS("chain1/f");
    FILE_IS("chain1/../a/f");
    FILE_IS("root/a/f");
    FILE_IS("root/root/root/a/f");
    R(readlink(P("a/f"), b, sizeof b));
    R(readlink(P("nothing"), b, sizeof b));
    R(readlink(P("relative"), b, 2));
    R(chmod(P("absolute"), 0640));
    NSIZE("a/f");
    R(truncate(P("absolute"), 3));
    R(truncate(P("absolute"), 4));
    R(lchown(P("absolute"), getuid(), getgid()));
    R(utimensat(AT_FDCWD, P("absolute"), NULL, AT_SYMLINK_NOFOLLOW));
    /* made through a link to nothing */
    int fd = F(open(P("dangling"), O_CREAT | O_WRONLY, 0600));
    R(close(fd));
    NSIZE("absent");
    F(open(P("dangling"), O_CREAT | O_EXCL | O_WRONLY, 0600));
    R(rename(P("chain1"), P("chain0")));
    R(rename(P("chain0"), P("chain1")));
    R(link(P("absolute"), P("link-to-link")));
    R(linkat(AT_FDCWD, P("absolute"), AT_FDCWD, P("link-to-file"), AT_SYMLINK_FOLLOW));
    NSIZE("link-to-file");
    R(unlink(P("link-to-link")));
    R(unlink(P("link-to-file")));
    R(rmdir(P("root")));
    R(mkdir(P("dangling2/x"), 0700));
    R(mkdir(P("root/made"), 0700));
    R(rmdir(P("made")));
}

static void dots(void)
{
    struct stat st;
    char b[PATH_MAX];
    static const char *names[] = {
        "", "/", ".", "./", "a/.", "a/./f", "a//f", "a/..", "a/../a/f", "a/b/../f", "a/b/../../a/f", "../outside/f",
        "a/../../outside/f", "../outside/../@", "f/..", "a/f/..", "a/f/.", "a/f/", "absent/..", "a/absent/../f",
        "relative/..", "../absent", "../..", "a/b/../../../outside",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char name[PATH_MAX];
        const char *at = strchr(names[i], '@');
        snprintf(name, sizeof name, "%.2000s/%.*s%.1000s", D, at ? (int)(at - names[i]) : 200, names[i],
                 at ? strrchr(real, '/') + 1 : "");
        int r = stat(name, &st);
        say("%s: %s", names[i], r < 0 ? ename(errno) : S_ISDIR(st.st_mode) ? "directory" : "file");
        r = lstat(name, &st);
        say(" %s", r < 0 ? ename(errno) : "there");
        r = access(name, R_OK);
        say(" %s", r < 0 ? ename(errno) : "readable");
        r = open(name, O_RDONLY);
        say(" %s", r < 0 ? ename(errno) : "opened");
        close(r);
        r = mkdir(name, 0700);
        say(" mkdir %s", r < 0 ? ename(errno) : "made");
        if (r == 0)
            rmdir(name);
        if (strncmp(names[i], "../", 3) != 0 && *names[i] && strcmp(names[i], "/") && strcmp(names[i], ".") &&
            strcmp(names[i], "./") && strcmp(names[i], "a/..")) {
            r = rmdir(name);
            say(" rmdir %s", r < 0 ? ename(errno) : "gone");
        }
        say(" real %s\n", realpath(name, b) ? (strncmp(b, real, strlen(real)) == 0 ? N(b) : "elsewhere") : ename(errno));
    }
    say("the same directory: %d\n", stat(P("a/.."), &st) == 0 && st.st_ino != 0);
}

static void directories(void)
{
    char b[PATH_MAX], *c;
    S(getcwd(b, sizeof b));
    R(chdir(P("a/b")));
    S(getcwd(b, sizeof b));
    c = getcwd(NULL, 0);
    S(c);
    free(c);
    S(getcwd(b, 3));
    S(getcwd(b, 0));
    S(getcwd(b, strlen(real) + 4));
    S(getcwd(b, strlen(real) + 5));
    c = get_current_dir_name();
    S(c);
    free(c);
    setenv("PWD", P("a/./b"), 1);
    c = get_current_dir_name();
    say("by PWD: %s\n", c ? "given" : ename(errno));
    free(c);
    R(syscall(SYS_getcwd, b, (long)sizeof b) == (long)strlen(real) + 5);
    S(realpath(".", b));
    S(realpath("..", b));
    S(realpath("../..", b));
    S(canonicalize_file_name("../f"));
    R(access("../f", F_OK));
    R(access("../../a/b/../f", F_OK));
    R(access("../../../outside/f", F_OK));
    R(access("../../absolute", F_OK));
    R(chdir("../.."));
    S(getcwd(b, sizeof b));
    R(chdir(".."));
    R(access("outside/f", F_OK));
    snprintf(b, sizeof b, "%.2000s/a/f", strrchr(real, '/') + 1);
    R(access(b, F_OK));
    snprintf(b, sizeof b, "./%.2000s", strrchr(real, '/') + 1);
    R(chdir(b));
    S(getcwd(b, sizeof b));
    ssize_t n = readlink("/proc/self/cwd", b, sizeof b - 1);
    b[n > 0 ? n : 0] = 0;
    S(b);
    R(mkdir("gone", 0700));
    R(chdir("gone"));
    R(rmdir("../gone"));
    S(getcwd(b, sizeof b));
    R(access("../a/f", F_OK));
    R(chdir(real));
    int up = F(open("..", O_RDONLY | O_DIRECTORY)), in = F(open("a", O_PATH | O_DIRECTORY));
    R(faccessat(up, "outside/f", F_OK, 0));
    snprintf(b, sizeof b, "%.2000s/a/f", strrchr(real, '/') + 1);
    R(faccessat(up, b, F_OK, 0));
    R(faccessat(in, "f", F_OK, 0));
    R(faccessat(in, "../../outside/f", F_OK, 0));
    R(faccessat(in, "../absolute", F_OK, 0));
    R(faccessat(in, "b/../../a/./f", F_OK, 0));
    R(mkdirat(in, "../made", 0700));
    R(unlinkat(in, "../made", AT_REMOVEDIR));
    R(symlinkat(real, in, "to-root"));
    R(faccessat(in, "to-root/a/to-root/a/f", F_OK, 0));
    R(renameat(in, "to-root", up, "outside/to-root"));
    R(access("../outside/to-root/a/f", F_OK));
    R(renameat(up, "outside/to-root", in, "to-root"));
    R(unlinkat(in, "to-root", 0));
    R(fchdir(up));
    R(access("outside/f", F_OK));
    R(fchdir(in));
    S(getcwd(b, sizeof b));
    n = readlink("/proc/self/fd/0", b, sizeof b);
    say("%d\n", n > 0);
    snprintf(b, sizeof b, "/proc/self/fd/%d", in);
    char t[PATH_MAX];
    n = readlink(b, t, sizeof t - 1);
    t[n > 0 ? n : 0] = 0;
    S(t);
    R(readlink(b, t, 1));
    S(realpath(b, t));
    snprintf(t, sizeof t, "%.100s/../absolute", b);
    R(access(t, F_OK));
    R(close(up));
    R(close(in));
    pid_t pid = fork();
    if (pid == 0) {
        S(getcwd(b, sizeof b));
        R(chdir("b"));
        S(getcwd(b, sizeof b));
        _exit(0);
    }
    REAP(pid);
    S(getcwd(b, sizeof b));
    pid = vfork();
    if (pid == 0)
        _exit(chdir(real) == 0 ? 7 : 8);
    REAP(pid);
    S(getcwd(b, sizeof b));
    fflush(NULL);
    say("pwd in a shell: %d\n", system("test \"$(pwd -P)\" = \"$(cd -P .; pwd)\" && pwd -P | grep -q '/a$'"));
    R(chdir("/"));
}

static void temporary(void)
{
    char b[PATH_MAX], c[PATH_MAX], *t;
    struct stat st;
    snprintf(b, sizeof b, "%.4000s/tmpXXXXXX", D);
    strcpy(c, b);
    int fd = F(mkstemp(b));
    say("%d %d %d\n", strncmp(b, c, strlen(b) - 6), strcmp(b, c) != 0, stat(b, &st));
    R(close(fd));
    R(unlink(b));
    snprintf(b, sizeof b, "%.4000s/tmpXXXXXX.txt", D);
    fd = F(mkostemps(b, 4, O_CLOEXEC));
    say("%s %d\n", strrchr(b, '.'), stat(b, &st));
    R(close(fd));
    R(unlink(b));
    snprintf(b, sizeof b, "%.4000s/dirXXXXXX", D);
    t = mkdtemp(b);
    say("%d %d\n", t == b, stat(b, &st));
    R(rmdir(b));
    strcpy(b, c);
    say("%d", mktemp(b) == b);
    say(" %d %s\n", stat(b, &st), ename(errno));
    snprintf(b, sizeof b, "%.4000s/short", D);
    F(mkstemp(b));
    say("%s\n", N(b));
    snprintf(b, sizeof b, "%.4000s/absent2/XXXXXX", D);
    F(mkstemp(b));
    say("%d\n", mkdtemp(b) == NULL);
    setenv("TMPDIR", D, 1);
    t = tempnam("/", "prefix-long");
    say("%.6s\n", t ? N(t) + 1 : ename(errno));
    free(t);
    unsetenv("TMPDIR");
    t = tempnam(D, NULL);
    say("%.5s\n", t ? N(t) + 1 : ename(errno));
    free(t);
}

static void attributes(void)
{
    struct statfs fs;
    struct statvfs vfs;
    char b[256];
    R(statfs(P("a/f"), &fs));
    R(statvfs(P("a"), &vfs));
    R(statfs(P("absent3"), &fs));
    R(pathconf(P("a"), _PC_NAME_MAX));
    R(setxattr(P("absolute"), "user.iris", "value", 5, 0));
    R(getxattr(P("a/f"), "user.iris", b, sizeof b));
    R(lgetxattr(P("absolute"), "user.iris", b, sizeof b));
    R(listxattr(P("absolute"), b, sizeof b));
    R(llistxattr(P("absolute"), b, sizeof b));
    R(removexattr(P("absolute"), "user.iris"));
    struct stat st;
    R(stat(P("a/f"), &st));
    R(ftok(P("a/f"), 5) == (key_t)((st.st_ino & 0xffff) | ((st.st_dev & 0xff) << 16) | (5u << 24)));
    R(utime(P("a/f"), &(struct utimbuf){1, 2}));
    R(eaccess(P("a/f"), R_OK));
    R(mkfifo(P("fifo"), 0600));
    R(mknod(P("node"), S_IFREG | 0600, 0));
    R(unlink(P("fifo")));
    R(remove(P("node")));
    R(mkdir(P("removed"), 0700));
    R(remove(P("removed")));
    int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    R(inotify_add_watch(watch, P("a"), IN_CREATE));
    make("a/noticed", 3, 1);
    R(read(watch, b, sizeof b) > 0);
    R(inotify_add_watch(watch, P("absent4"), IN_CREATE));
    R(close(watch));
    R(unlink(P("a/noticed")));
    make("table", 0, 1);
    FILE *f = setmntent(P("table"), "r");
    say("setmntent %d %d\n", f != NULL, f && getmntent(f) == NULL);
    if (f)
        endmntent(f);
    R(unlink(P("table")));
}

static void sockets(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX}, b;
    socklen_t len;
    if (chdir(D) < 0)
        die("chdir");
    for (int relative = 0; relative < 2; relative++) {
        int l = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), c = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        memset(a.sun_path, 0, sizeof a.sun_path);
        if (relative)
            strcpy(a.sun_path, "a/socket");
        else if (strlen(real) + 8 < sizeof a.sun_path)
            snprintf(a.sun_path, sizeof a.sun_path, "%.90s/socket", real);
        else
            strcpy(a.sun_path, "socket");
        R(connect(c, (struct sockaddr *)&a, sizeof a));
        R(bind(l, (struct sockaddr *)&a, sizeof a));
        R(bind(l, (struct sockaddr *)&a, sizeof a));
        R(listen(l, 1));
        R(connect(c, (struct sockaddr *)&a, sizeof a));
        len = sizeof b;
        R(getpeername(c, (struct sockaddr *)&b, &len));
        say("%s\n", len > 2 && strcmp(a.sun_path, b.sun_path) == 0 ? "as bound" : b.sun_path);
        len = sizeof b;
        R(getsockname(l, (struct sockaddr *)&b, &len));
        say("%d\n", strcmp(a.sun_path, b.sun_path) == 0);
        R(close(c));
        R(close(l));
        R(unlink(a.sun_path));
    }
    R(chdir("/"));
}

static void programs(void)
{
    char b[PATH_MAX + 64];
    int st = 0;
    pid_t pid;
    R(mkdir(P("bin"), 0700));
    snprintf(b, sizeof b, "cp /bin/sh '%.2000s' && cp /bin/true '%.2000s'", P("bin/shell"), P("bin/yes-true"));
    R(system(b));
    FILE *f = fopen(P("bin/script"), "w");
    fprintf(f, "#! %s -e\ntest \"$0\" = \"$WANTED\" || exit 3\ntest \"$1\" = one && exit 4\n", P("bin/shell"));
    fclose(f);
    R(chmod(P("bin/script"), 0700));
    setenv("WANTED", P("bin/script"), 1);
    char *argv[] = {"renamed", "one", NULL};
    pid = fork();
    if (pid == 0) {
        execv(P("bin/script"), argv);
        _exit(90);
    }
    REAP(pid);
    pid = fork();
    if (pid == 0) {
        execl(P("bin/yes-true"), "true", NULL);
        _exit(91);
    }
    REAP(pid);
    pid = vfork();
    if (pid == 0) {
        execv(P("bin/script"), argv);
        _exit(92);
    }
    REAP(pid);
    E(posix_spawn(&pid, P("bin/script"), NULL, NULL, argv, environ));
    REAP(pid);
    E(posix_spawn(&pid, P("bin/absent"), NULL, NULL, argv, environ));
    snprintf(b, sizeof b, "/absent:%.2000s:/usr/bin:/bin", P("bin"));
    setenv("PATH", b, 1);
    E(posix_spawnp(&pid, "yes-true", NULL, NULL, argv, environ));
    REAP(pid);
    E(posix_spawnp(&pid, "true", NULL, NULL, argv, environ));
    REAP(pid);
    pid = fork();
    if (pid == 0) {
        execlp("script", "script", "one", NULL);
        _exit(93);
    }
    REAP(pid);
    pid = fork();
    if (pid == 0) {
        execlp("no-such-program", "x", NULL);
        say("%s\n", ename(errno));
        _exit(94);
    }
    REAP(pid);
    posix_spawn_file_actions_t acts;
    posix_spawn_file_actions_init(&acts);
    E(posix_spawn_file_actions_addopen(&acts, 1, P("spawned"), O_CREAT | O_WRONLY, 0600));
    E(posix_spawn_file_actions_addchdir_np(&acts, P("a")));
    char *sh[] = {"sh", "-c", "echo out; test -f f", NULL};
    E(posix_spawn(&pid, "/bin/sh", &acts, NULL, sh, environ));
    REAP(pid);
    posix_spawn_file_actions_destroy(&acts);
    FILE_IS("spawned");
    /* /proc/self/exe of a program in the directory */
    snprintf(b, sizeof b, "'%.2000s' -c 'test \"$(readlink /proc/$$/exe)\" -ef \"%.1000s\"'", P("bin/shell"),
             P("bin/shell"));
    st = system(b);
    say("its own name: %d\n", st);
    /* a library */
    snprintf(b, sizeof b, "cp \"$(ldd /bin/sh | sed -n 's/.*=> \\(.*libc.so[^ ]*\\).*/\\1/p')\" '%.2000s'", P("lib.so"));
    R(system(b));
    void *lib = dlmopen(LM_ID_NEWLM, P("absent.so"), RTLD_NOW);
    say("%d\n", lib == NULL);
    lib = dlopen(P("lib.so"), RTLD_NOW | RTLD_NOLOAD);
    say("dlopen %d\n", lib == NULL);
    lib = dlopen("libm.so.6", RTLD_NOW);
    say("dlopen %d\n", lib != NULL);
    R(unlink(P("lib.so")));
}

static void walks(void)
{
    static const int flags[] = {FTW_PHYS, 0, FTW_PHYS | FTW_DEPTH, FTW_PHYS | FTW_CHDIR};
    R(symlink("f", P("a/to-f")));
    for (int i = 0; i < 4; i++) {
        walk_flags = flags[i];
        R(nftw(P("a"), each_n, 8, flags[i]));
        tell("nftw");
        char b[PATH_MAX];
        snprintf(b, sizeof b, "%.4000s//a/b/../b/", D);
        walk_flags = flags[i];
        R(nftw(b, each_n, 8, flags[i]));
        tell("nftw");
    }
    walk_flags = 0;
    R(nftw(P("absent5"), each_n, 8, 0));
    R(ftw(P("a"), each_f, 8));
    tell("ftw");
    trees(P("a"), FTS_PHYSICAL);
    trees(P("a"), FTS_PHYSICAL | FTS_NOCHDIR);
    trees(P("a/"), FTS_LOGICAL | FTS_NOCHDIR);
    trees(P("absent6"), FTS_PHYSICAL);
    if (chdir(D) < 0)
        die("chdir");
    trees("a", FTS_PHYSICAL);
    walk_flags = FTW_PHYS;
    R(nftw("a", each_n, 8, FTW_PHYS));
    tell("nftw");
    R(chdir("/"));
    patterns(P("a/*"), 0);
    patterns(P("*/f"), GLOB_MARK);
    patterns(P("a/b/../[f-g]"), 0);
    patterns(P("absent7"), 0);
    patterns(P("absent7"), GLOB_NOCHECK);
    patterns(P("{a,relative}"), GLOB_BRACE);
    patterns(P("a"), GLOB_ONLYDIR | GLOB_MARK);
    struct dirent **list;
    int n = scandir(P("a"), &list, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        say("scandir %s\n", list[i]->d_name);
        free(list[i]);
    }
    if (n > 0)
        free(list);
    DIR *d = opendir(P("a/b/.."));
    say("opendir %d\n", d != NULL);
    if (d)
        closedir(d);
    say("opendir %d %s\n", opendir(P("a/f")) != NULL, ename(errno));
    R(unlink(P("a/to-f")));
}

static void lengths(void)
{
    char b[3 * PATH_MAX];
    struct stat st;
    size_t n = (size_t)snprintf(b, sizeof b, "%s", D);
    while (n < PATH_MAX - 1)
        b[n++] = '/';
    b[n] = 0;
    say("%d: %d %s\n", (int)n, stat(b, &st), ename(errno));
    b[n - 1] = 'a';
    R(stat(b, &st));
    b[n++] = '/';
    b[n] = 0;
    R(stat(b, &st));
    memset(b, 'x', sizeof b);
    n = (size_t)snprintf(b, sizeof b, "%s/", D);
    memset(b + n, 'x', 300);
    b[n + 255] = 0;
    R(stat(b, &st));
    b[n + 255] = 'x';
    b[n + 256] = 0;
    R(stat(b, &st));
    R(mkdir(b, 0700));
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    char b[PATH_MAX + 64];
    if (!realpath(D, real) || chdir(D) < 0)
        die("realpath");
    R(mkdir("a", 0755));
    R(mkdir("a/b", 0755));
    make("a/f", 100, 1);
    D = real;
    /* a sibling of the directory */
    snprintf(b, sizeof b, "%.2000s/../outside", real);
    R(mkdir(b, 0755));
    make("../outside/f", 7, 2);
    directories();
    links();
    dots();
    directories();
    temporary();
    attributes();
    sockets();
    walks();
    lengths();
    programs();
    /* what holds the directory's own name */
    snprintf(b, sizeof b, "rm -r '%.1500s/../outside' '%.1500s/bin' && find '%.1000s' -type l -exec rm {} +", real, real,
             real);
    R(system(b));
    return 0;
}
