/* Directories while files come and go: readdir, scandir, nftw, fts, glob, seekdir, getdents; sizes they report. */
#include "common.h"
#include <fts.h>
#include <ftw.h>
#include <glob.h>
#include <sys/syscall.h>

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }
static void list(const char *name)
{
    DIR *d = opendir(P(name));
    if (!d) {
        say("  opendir %s: %s\n", name, ename(errno));
        return;
    }
    char *names[400];
    int n = 0;
    struct dirent *e;
    errno = 0;
    while ((e = readdir(d)) && n < 400) {
        char t[300];
        snprintf(t, sizeof t, "%s/%d", e->d_name, e->d_type);
        names[n++] = strdup(t);
    }
    say("  readdir %s: %d, errno %s:", name, n, ename(errno));
    qsort(names, (size_t)n, sizeof *names, by_name);
    uint64_t h = 0;
    for (int i = 0; i < n; i++) {
        if (n <= 30)
            say(" %s", names[i]);
        h = hash_more(h, names[i], strlen(names[i]));
        free(names[i]);
    }
    say(" %016lx closedir %d\n", (unsigned long)h, closedir(d));
}
static long total, files, folders;
static int visit(const char *path, const struct stat *st, int type, struct FTW *f)
{
    (void)path;
    (void)f;
    if (type == FTW_F) {
        files++;
        total += st->st_size;
    } else
        folders++;
    return 0;
}
static int visit_old(const char *path, const struct stat *st, int type)
{
    (void)path;
    if (type == FTW_F) {
        files++;
        total += st->st_size;
    }
    return 0;
}
static int txt(const struct dirent *e) { return strstr(e->d_name, ".txt") != NULL; }

static void walk(const char *name)
{
    total = files = folders = 0;
    int r = nftw(P(name), visit, 10, FTW_PHYS);
    say("nftw %d: %ld files, %ld folders, %ld bytes\n", r, files, folders, total);
    total = files = 0;
    r = ftw(P(name), visit_old, 5);
    say("ftw %d: %ld files, %ld bytes\n", r, files, total);
    char *roots[] = {(char *)P(name), NULL};
    FTS *t = fts_open(roots, FTS_PHYSICAL, NULL);
    total = files = 0;
    for (FTSENT *e; (e = fts_read(t));)
        if (e->fts_info == FTS_F) {
            files++;
            total += e->fts_statp->st_size;
        }
    fts_close(t);
    say("fts: %ld files, %ld bytes\n", files, total);
    struct dirent **names;
    int n = scandir(P(name), &names, txt, alphasort);
    say("scandir %d:", n);
    for (int i = 0; i < n; i++) {
        if (n < 20)
            say(" %s", names[i]->d_name);
        free(names[i]);
    }
    if (n >= 0)
        free(names);
    say("\n");
    glob_t g;
    r = glob(P("g*/*.txt"), 0, NULL, &g);
    say("glob %d: %zu\n", r, r ? 0 : g.gl_pathc);
    globfree(&g);
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    R(mkdir(P("g"), 0755));
    list("g");
    int fds[40];
    for (int i = 0; i < 40; i++) {
        char n[32];
        snprintf(n, sizeof n, "g/f%02d.%s", i, i % 2 ? "txt" : "dat");
        fds[i] = open(P(n), O_CREAT | O_RDWR, 0644);
        if (write(fds[i], "some staged bytes", (size_t)(i % 17 + 1)) != i % 17 + 1)
            die("write");
    }
    list("g");
    walk("g");
    walk("."); /* the root may be a link, which FTW_PHYS does not follow */
    R(mkdir(P("g/sub"), 0700));
    R(symlink("f00.dat", P("g/link")));
    R(mkfifo(P("g/fifo"), 0600));
    make("g/sub/deep.txt", 100, 1);
    list("g");
    walk("g");

    /* create and remove while an iteration is open */
    DIR *d = opendir(P("g"));
    int n = 0;
    struct dirent *e;
    while ((e = readdir(d)))
        if (strstr(e->d_name, ".dat")) {
            char q[300];
            snprintf(q, sizeof q, "g/%s", e->d_name);
            if (unlink(P(q)))
                die("unlink");
            n++;
        }
    say("removed %d\n", n);
    rewinddir(d);
    n = 0;
    while ((e = readdir(d)))
        n++;
    say("left %d\n", n);
    rewinddir(d);
    readdir(d);
    readdir(d);
    long at = telldir(d);
    e = readdir(d);
    char third[256];
    strcpy(third, e->d_name);
    readdir(d);
    seekdir(d, at);
    e = readdir(d);
    say("seekdir same %d\n", !strcmp(e->d_name, third));
    int df = dirfd(d);
    int f = F(openat(df, "by-dirfd.txt", O_CREAT | O_RDWR, 0644));
    R(write(f, "dirfd", 5));
    struct stat st;
    R(fstatat(df, "by-dirfd.txt", &st, 0));
    say("%ld\n", (long)st.st_size);
    R(close(f));
    V(closedir(d));
    for (int i = 0; i < 40; i++) {
        if (pwrite(fds[i], "late", 4, 50) != 4 || close(fds[i]))
            say("late %d %s\n", i, ename(errno));
    }
    list("g");
    walk("g");

    /* fdopendir, raw getdents, rewinding by lseek */
    int dfd = F(open(P("g"), O_RDONLY | O_DIRECTORY));
    char *b = grab(65536);
    long got = syscall(SYS_getdents64, dfd, b, 65536);
    say("getdents %d\n", got > 0);
    R(syscall(SYS_getdents64, dfd, b, 65536));
    R(lseek(dfd, 0, SEEK_SET));
    d = fdopendir(dfd);
    n = 0;
    while (readdir(d))
        n++;
    say("fdopendir %d\n", n);
    V(closedir(d));
    R(close(dfd));
    V(fdopendir(-1) == NULL);
    f = open(P("g/f01.txt"), O_RDONLY);
    V(fdopendir(f) == NULL);
    R(close(f));
    list("absent");
    list("g/f01.txt");

    /* errors and the life of directories */
    R(mkdir(P("g"), 0755));
    R(rmdir(P("g")));
    R(mkdir(P("absent/x"), 0755));
    R(rmdir(P("absent")));
    R(unlink(P("g/sub")));
    R(rmdir(P("g/f01.txt")));
    R(mkdir(P("m"), 0777));
    NSIZE("m");
    R(rmdir(P("m")));
    list("");

    /* a forest: 1500 files of a few bytes in 30 folders, counted, then every third removed */
    for (int i = 0; i < 30; i++) {
        char q[64];
        snprintf(q, sizeof q, "d%02d", i);
        mkdir(P(q), 0755);
        for (int k = 0; k < 50; k++) {
            snprintf(q, sizeof q, "d%02d/f%d", i, k);
            int x = open(P(q), O_CREAT | O_WRONLY, 0644);
            if (write(x, q, strlen(q)) != (ssize_t)strlen(q) || close(x))
                die("forest");
        }
    }
    walk(".");
    for (int i = 0; i < 30; i++)
        for (int k = 0; k < 50; k += 3) {
            char q[64];
            snprintf(q, sizeof q, "d%02d/f%d", i, k);
            if (unlink(P(q)))
                die("unlink");
        }
    walk(".");
    return 0;
}
