/* iris_mapper.h: a files -> objects mapper in a shared library of your own.
 *
 * A mapper decides which objects of a store the bytes of a file become. Iris asks it for plans and carries them out;
 * the mapper does no I/O. docs/mappers.md says what a plan is and what is required of one; mappers/examples/striped.c
 * is an example. Build it with  cc -shared -fPIC -o mine.so mine.c  and name the file, or its folder, in
 * IRIS_MAPPER_PATH (several are separated by colons). The mapper is then chosen by its name, as any other.
 *
 * The library defines iris_mapper_v1 and nothing else that Iris looks for. It is loaded once and never unloaded. */
#ifndef IRIS_MAPPER_H
#define IRIS_MAPPER_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of everything below. */
#define IRIS_MAPPER_ABI 1
/* The largest size of a file in bytes, and the largest number of an object. */
#define IRIS_MAX_FILE INT64_MAX
#define IRIS_MAX_NUMBER ((UINT64_C(1) << 48) - 1)

/* What a store can do: bits of iris_facts.store. */
enum {
    IRIS_RANGE_READ = 1,      /* read a part of an object */
    IRIS_RANGE_WRITE = 2,     /* replace a part of an object in place, and lengthen it */
    IRIS_CONDITIONAL_PUT = 4, /* put if the object is absent, or unchanged */
};

/* What is known of the file before the request. Sizes in bytes. */
typedef struct {
    uint64_t size;       /* of the file */
    uint64_t max_object; /* the largest object that the store takes */
    uint32_t store;
    uint32_t reserved;
} iris_facts;

/* What is to be done with a piece. */
enum {
    IRIS_PUT = 0,          /* write: the piece becomes the whole object; at is 0 */
    IRIS_UPDATE = 1,       /* write: replaces bytes of the object in place; needs IRIS_RANGE_WRITE */
    IRIS_MODIFY = 2,       /* write: get the object, lay the piece over it, put it back */
    IRIS_READ = 3,         /* read; what is missing of the object reads as zeros */
    IRIS_READ_WHOLE = 4,   /* as IRIS_READ, where the store has no IRIS_RANGE_READ */
    IRIS_READ_WRITTEN = 5, /* read; what is missing of the object is an error */
    IRIS_ZEROS = 6,        /* read: a hole; there is no object */
    IRIS_CUT = 7,          /* shorten the object to at bytes; len is 0 */
};

/* The condition of a write; needs IRIS_CONDITIONAL_PUT. */
enum {
    IRIS_ALWAYS = 0,
    IRIS_IF_ABSENT = 1,    /* IRIS_PUT: the object must not exist */
    IRIS_IF_UNCHANGED = 2, /* IRIS_MODIFY: the object must not have changed in between */
};

/* A byte range of the file and the part of one object that it is. */
typedef struct {
    uint64_t number; /* of the object */
    uint32_t level;  /* a second number, for mappers with several series of objects */
    uint32_t how;
    uint64_t at;     /* in the object */
    uint64_t offset; /* in the file */
    uint64_t len;
    uint32_t guard;
    uint32_t reserved; /* 0 */
} iris_piece;

/* Objects with the numbers first .. first + count - 1. They need not all exist. */
typedef struct {
    uint64_t first;
    uint64_t count; /* at least 1 */
    uint32_t level;
    uint32_t reserved; /* 0 */
} iris_objects;

/* A change of the file's map, for a mapper that has an index: 28 bytes that mean what the mapper likes, on every
 * machine and in every later version. They are kept in the file's journal and given to iris_mapper.apply, in every
 * process that has the file, in the order of the journal. */
typedef struct {
    uint8_t bytes[28];
} iris_record;

/* A plan is filled by these calls. `plan` is what the mapper was given. */
typedef struct iris_plan iris_plan;
typedef struct {
    void (*piece)(iris_plan *plan, const iris_piece *piece);
    void (*remove)(iris_plan *plan, const iris_objects *objects); /* deleted with the request */
    void (*record)(iris_plan *plan, const iris_record *record);   /* appended when the pieces are written */
    void (*intent)(iris_plan *plan, const iris_record *record);   /* appended before anything is written */
    void (*take)(iris_plan *plan, uint64_t count);                /* so many new object numbers are used */
} iris_plan_calls;

/* What is known of an object. */
enum { IRIS_NEEDED = 0, IRIS_GARBAGE = 1, IRIS_UNKNOWN = 2 };

/* A mapper. Functions that return a text return NULL if all is well, and else what is wrong, in words for the user;
 * the text must stay valid. Functions with a const mapper are called by several threads at once, and change nothing;
 * the others are called by one thread, while no other is in any. None may throw or longjmp out. */
typedef struct {
    uint32_t abi;  /* IRIS_MAPPER_ABI */
    uint32_t size; /* sizeof(iris_mapper) */
    const char *name;    /* lower case letters, digits and '-' */
    const char *about;   /* what it is for, in a line */

    /* Makes the mapper of one file, from the text behind the colon of "NAME:OPTIONS", which may be empty. The same
     * text must make the same mapper for ever: it is kept with the file. */
    const char *(*create)(const char *options, void **mapper);
    void (*destroy)(void *mapper);

    /* The pieces of a write cover offset .. offset+len-1 once (several times over, if the mapper keeps replicas).
     * `fresh` is the first object number that the file has not used. */
    const char *(*plan_write)(const void *mapper, const iris_facts *facts, uint64_t offset, uint64_t len,
                              uint64_t fresh, iris_plan *plan, const iris_plan_calls *calls);
    /* The pieces of a read lie in the order of the file without gaps. The range lies within the file. */
    const char *(*plan_read)(const void *mapper, const iris_facts *facts, uint64_t offset, uint64_t len,
                             iris_plan *plan, const iris_plan_calls *calls);
    /* From facts->size to a smaller size: bytes behind it must read as zeros should the file grow again. */
    const char *(*plan_truncate)(const void *mapper, const iris_facts *facts, uint64_t size, iris_plan *plan,
                                 const iris_plan_calls *calls);
    /* Every object that the file has or may have is removed. */
    const char *(*plan_remove)(const void *mapper, const iris_facts *facts, iris_plan *plan,
                               const iris_plan_calls *calls);
    /* IRIS_NEEDED, IRIS_GARBAGE or IRIS_UNKNOWN. */
    int (*standing)(const void *mapper, const iris_facts *facts, uint32_t level, uint64_t number);

    /* For a mapper with an index; NULL, all of them, for one without. */
    const char *(*apply)(void *mapper, const iris_record *record);
    /* Gives at most `limit` runs of objects that nothing reads any more. */
    void (*garbage)(const void *mapper, uint64_t limit, void *to,
                    void (*give)(void *to, const iris_objects *objects));
    /* These have been deleted, and are not to be given again. */
    const char *(*collected)(void *mapper, const iris_objects *objects);
    /* Gives records that bring a new mapper to this one's state. */
    void (*snapshot)(const void *mapper, void *to, void (*give)(void *to, const iris_record *record));
    /* Forgets all records. */
    void (*reset)(void *mapper);
} iris_mapper;

/* The library's mappers: number 0, 1 and so on; NULL behind the last. They stay valid. */
const iris_mapper *iris_mapper_v1(unsigned number);

#ifdef __cplusplus
}
#endif

#endif
