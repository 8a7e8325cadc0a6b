/* iris.h: what a program linked with -liris may ask of the library beside being served by it.
 *
 * Linking is enough: open, read, write, fopen and all the rest then behave as under LD_PRELOAD=libiris.so. Mounts
 * come from the environment (IRIS_MOUNT, IRIS_CONFIG) in either case. */
#ifndef IRIS_H
#define IRIS_H

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the library, "major.minor.patch"; never NULL, never to be freed. */
const char *iris_version(void);

/* Returns when the bytes of this file that were staged on this node, by whichever process, are in the file that
 * programs without Iris see. 0, or -1 with errno; 0 also for a file outside every mount. */
int iris_settle(const char *path);

#ifdef __cplusplus
}
#endif

#endif
