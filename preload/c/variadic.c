/* What Rust cannot define: functions with variable arguments (their bodies only turn the arguments into a list
 * and call the hook that takes one), and thread variables of the initial-exec model, which a signal handler
 * and a vfork child may read. Owns no state but these; may not touch the engine. */

#include <alloca.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>
#include <wchar.h>

/* How deep this thread is inside Iris (above zero every hook makes the real call), and how many signals wait for
 * it to come out. See guard.rs. */
__thread unsigned iris_depth[2] __attribute__((visibility("hidden")));

unsigned *iris_depth_address(void) { return iris_depth; }

/* The MPI_File_open that this thread is in, or null. See mpi/opening.rs. */
static __thread void *iris_opening;

void **iris_opening_place(void) { return &iris_opening; }

int __vdprintf_chk(int fd, int flag, const char *format, va_list list);
int __vfwprintf_chk(FILE *stream, int flag, const wchar_t *format, va_list list);
int __vwprintf_chk(int flag, const wchar_t *format, va_list list);
int __isoc99_vfwscanf(FILE *stream, const wchar_t *format, va_list list);
int __isoc99_vwscanf(const wchar_t *format, va_list list);
int __isoc23_vfwscanf(FILE *stream, const wchar_t *format, va_list list);
int __isoc23_vwscanf(const wchar_t *format, va_list list);

#define WITH_LIST(last, call)     \
    va_list list;                 \
    va_start(list, last);         \
    int result = call;            \
    va_end(list);                 \
    return result

int iris_c_dprintf(int fd, const char *format, ...) { WITH_LIST(format, vdprintf(fd, format, list)); }
int iris_c_dprintf_chk(int fd, int flag, const char *format, ...)
{
    WITH_LIST(format, __vdprintf_chk(fd, flag, format, list));
}
int iris_c_fwprintf(FILE *stream, const wchar_t *format, ...)
{
    WITH_LIST(format, vfwprintf(stream, format, list));
}
int iris_c_fwprintf_chk(FILE *stream, int flag, const wchar_t *format, ...)
{
    WITH_LIST(format, __vfwprintf_chk(stream, flag, format, list));
}
int iris_c_wprintf(const wchar_t *format, ...) { WITH_LIST(format, vwprintf(format, list)); }
int iris_c_wprintf_chk(int flag, const wchar_t *format, ...)
{
    WITH_LIST(format, __vwprintf_chk(flag, format, list));
}
/* <wchar.h> renames the scanf functions to their C99 forms; these two must reach the old ones. */
extern int iris_old_vfwscanf(FILE *, const wchar_t *, va_list) __asm__("vfwscanf");
extern int iris_old_vwscanf(const wchar_t *, va_list) __asm__("vwscanf");
int iris_c_fwscanf(FILE *stream, const wchar_t *format, ...)
{
    WITH_LIST(format, iris_old_vfwscanf(stream, format, list));
}
int iris_c_wscanf(const wchar_t *format, ...) { WITH_LIST(format, iris_old_vwscanf(format, list)); }
int iris_c_isoc99_fwscanf(FILE *stream, const wchar_t *format, ...)
{
    WITH_LIST(format, __isoc99_vfwscanf(stream, format, list));
}
int iris_c_isoc99_wscanf(const wchar_t *format, ...) { WITH_LIST(format, __isoc99_vwscanf(format, list)); }
int iris_c_isoc23_fwscanf(FILE *stream, const wchar_t *format, ...)
{
    WITH_LIST(format, __isoc23_vfwscanf(stream, format, list));
}
int iris_c_isoc23_wscanf(const wchar_t *format, ...) { WITH_LIST(format, __isoc23_vwscanf(format, list)); }

/* The arguments of execl and its kin as an array on the stack: the caller may be a vfork child. */
#define EXEC_ARRAY(first)                                             \
    va_list list;                                                     \
    size_t count = 1;                                                 \
    va_start(list, first);                                            \
    while (va_arg(list, char *) != NULL)                              \
        count++;                                                      \
    va_end(list);                                                     \
    char **argv = alloca((count + 1) * sizeof *argv);                 \
    argv[0] = (char *)first;                                          \
    va_start(list, first);                                            \
    for (size_t i = 1; i <= count; i++)                               \
        argv[i] = va_arg(list, char *)

int iris_c_execl(const char *path, const char *first, ...)
{
    if (first == NULL) {
        char *none[] = {NULL};
        return execv(path, none);
    }
    EXEC_ARRAY(first);
    va_end(list);
    return execv(path, argv);
}

int iris_c_execlp(const char *file, const char *first, ...)
{
    if (first == NULL) {
        char *none[] = {NULL};
        return execvp(file, none);
    }
    EXEC_ARRAY(first);
    va_end(list);
    return execvp(file, argv);
}

int iris_c_execle(const char *path, const char *first, ...)
{
    va_list rest;
    if (first == NULL) {
        char *none[] = {NULL};
        va_start(rest, first);
        char **environment = va_arg(rest, char **);
        va_end(rest);
        return execve(path, none, environment);
    }
    EXEC_ARRAY(first);
    char **environment = va_arg(list, char **);
    va_end(list);
    return execve(path, argv, environment);
}

/* What came with the signals that wait. See signals.rs. */
__thread char iris_held[8][128] __attribute__((aligned(16), visibility("hidden")));

void *iris_held_address(void) { return iris_held; }

/* This thread's innermost walk through a tree. See names/walks.rs. */
static __thread void *iris_walk;

void **iris_walk_address(void) { return &iris_walk; }
