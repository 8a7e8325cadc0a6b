/* What preloading adds to the start and end of a process. Two environments, one command, run in turn with vfork.
 *   start-cost RUNS NAME=VALUE… -- COMMAND [ARGUMENT…]
 * Plain runs get this process's own environment; the others the same with the variables named added.
 * Prints the medians in microseconds: plain, with, and of the differences of each pair. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static double run(char **command, char **env) {
    struct timespec a, b;
    int status;
    clock_gettime(CLOCK_MONOTONIC, &a);
    pid_t pid = vfork();
    if (pid == 0) {
        execve(command[0], command, env);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
        fprintf(stderr, "start-cost: %s failed\n", command[0]);
        exit(1);
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    return (double)(b.tv_sec - a.tv_sec) * 1e6 + (double)(b.tv_nsec - a.tv_nsec) / 1e3;
}
static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
static double median(double *of, int n) {
    qsort(of, (size_t)n, sizeof *of, by_size);
    return of[n / 2];
}

int main(int argc, char **argv) {
    int runs = argc > 1 ? atoi(argv[1]) : 0, at = 2, have = 0;
    while (environ[have]) have++;
    char **env = calloc((size_t)(have + argc + 1), sizeof *env);
    if (!env || runs < 1) return 2;
    memcpy(env, environ, (size_t)have * sizeof *env);
    while (at < argc && strcmp(argv[at], "--")) env[have++] = argv[at++];
    char **command = argv + at + 1;
    if (at + 1 >= argc) {
        fprintf(stderr, "usage: start-cost RUNS NAME=VALUE… -- COMMAND [ARGUMENT…]\n");
        return 2;
    }
    double *plain = calloc((size_t)runs * 3, sizeof *plain), *with = plain + runs, *more = with + runs;
    if (!plain) return 1;
    for (int i = 0; i < 10; i++) run(command, environ), run(command, env);
    for (int i = 0; i < runs; i++) {
        plain[i] = run(command, environ);
        with[i] = run(command, env);
        more[i] = with[i] - plain[i];
    }
    double d = median(more, runs);
    printf("%.1f %.1f %.1f\n", median(plain, runs), median(with, runs), d);
    return 0;
}
