/* The unwinder, taken from libgcc_s only when somebody unwinds. Linking it in the usual way would load that
 * library into every process, which costs more than all the rest of libiris.so; linking it statically would
 * give a second unwinder, whose notion of a context need not be that of the one that is unwinding (pthread_cancel
 * and C++ exceptions pass through our frames). Owns the pointers; may not touch anything else. */

#include <dlfcn.h>
#include <stdlib.h>

typedef unsigned long word;

static void *find(void **slot, const char *name)
{
    void *found = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
    if (found == NULL) {
        void *library = dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_GLOBAL);
        found = library == NULL ? NULL : dlsym(library, name);
        if (found == NULL)
            abort(); /* Without an unwinder no panic can be caught and no thread cancelled. */
        __atomic_store_n(slot, found, __ATOMIC_RELEASE);
    }
    return found;
}

#define FORWARD(result, name, parameters, arguments)                              \
    __attribute__((visibility("hidden"))) result name parameters                  \
    {                                                                             \
        static void *slot;                                                        \
        return ((result(*) parameters)find(&slot, #name)) arguments;              \
    }

FORWARD(int, _Unwind_RaiseException, (void *exception), (exception))
FORWARD(void, _Unwind_Resume, (void *exception), (exception))
FORWARD(int, _Unwind_Resume_or_Rethrow, (void *exception), (exception))
FORWARD(void, _Unwind_DeleteException, (void *exception), (exception))
FORWARD(int, _Unwind_Backtrace, (void *trace, void *argument), (trace, argument))
FORWARD(void *, _Unwind_GetLanguageSpecificData, (void *context), (context))
FORWARD(word, _Unwind_GetRegionStart, (void *context), (context))
FORWARD(word, _Unwind_GetTextRelBase, (void *context), (context))
FORWARD(word, _Unwind_GetDataRelBase, (void *context), (context))
FORWARD(word, _Unwind_GetGR, (void *context, int index), (context, index))
FORWARD(void, _Unwind_SetGR, (void *context, int index, word value), (context, index, value))
FORWARD(word, _Unwind_GetIP, (void *context), (context))
FORWARD(word, _Unwind_GetIPInfo, (void *context, int *before), (context, before))
FORWARD(void, _Unwind_SetIP, (void *context, word value), (context, value))
FORWARD(word, _Unwind_GetCFA, (void *context), (context))
FORWARD(void *, _Unwind_FindEnclosingFunction, (void *address), (address))
