/* Two mappers of a third party, to begin from.
 *
 * striped:width=4,unit=65536   the file goes round over `width` objects, `unit` bytes at a time. No index.
 * logged                       each write is a new object; an index tells which is newest. The index here is a list
 *                              that is searched from its end: short, and far too slow for real use.
 *
 *   cc -O2 -shared -fPIC -I include -o striped.so mappers/examples/striped.c
 *   IRIS_MAPPER_PATH=striped.so
 */
#include "iris_mapper.h"

#include <stdlib.h>
#include <string.h>

/* ---- striped ------------------------------------------------------------------------------------------------- */

struct striped {
    uint64_t width, unit;
};

/* Reads "name=number" at the start of *text and moves behind it, and behind a comma. */
static int option(const char **text, const char *name, uint64_t *value) {
    size_t n = strlen(name);
    if (strncmp(*text, name, n) || (*text)[n] != '=') return 0;
    char *end;
    *value = strtoull(*text + n + 1, &end, 10);
    if (end == *text + n + 1 || (*end && *end != ',')) return 0;
    *text = *end ? end + 1 : end;
    return 1;
}

static const char *striped_create(const char *options, void **mapper) {
    struct striped made = {4, 65536};
    while (*options)
        if (!option(&options, "width", &made.width) && !option(&options, "unit", &made.unit))
            return "the options are width=NUMBER and unit=BYTES";
    if (made.width < 1 || made.width > 1024) return "width must be 1 to 1024 objects";
    if (made.unit < 1 || made.unit > (1 << 30)) return "unit must be 1 to 1073741824 bytes";
    struct striped *m = malloc(sizeof *m);
    if (!m) return "no memory";
    *m = made;
    *mapper = m;
    return NULL;
}

/* Length of object `number` when the file has `size` bytes. */
static uint64_t length(const struct striped *m, uint64_t number, uint64_t size) {
    uint64_t row = m->width * m->unit, rest = size % row, before = number * m->unit;
    uint64_t part = rest < before ? 0 : rest - before < m->unit ? rest - before : m->unit;
    return size / row * m->unit + part;
}

static void pieces(const struct striped *m, uint64_t offset, uint64_t len, uint32_t how, uint32_t guard,
                   iris_plan *plan, const iris_plan_calls *calls) {
    while (len) {
        uint64_t unit = offset / m->unit, within = offset % m->unit;
        uint64_t n = len < m->unit - within ? len : m->unit - within;
        iris_piece piece = {.number = unit % m->width, .how = how, .guard = guard,
                            .at = unit / m->width * m->unit + within, .offset = offset, .len = n};
        calls->piece(plan, &piece);
        offset += n;
        len -= n;
    }
}

static const char *striped_write(const void *mapper, const iris_facts *facts, uint64_t offset, uint64_t len,
                                 uint64_t fresh, iris_plan *plan, const iris_plan_calls *calls) {
    (void)fresh;
    if (facts->store & IRIS_RANGE_WRITE)
        pieces(mapper, offset, len, IRIS_UPDATE, IRIS_ALWAYS, plan, calls);
    else
        pieces(mapper, offset, len, IRIS_MODIFY,
               facts->store & IRIS_CONDITIONAL_PUT ? IRIS_IF_UNCHANGED : IRIS_ALWAYS, plan, calls);
    return NULL;
}

static const char *striped_read(const void *mapper, const iris_facts *facts, uint64_t offset, uint64_t len,
                                iris_plan *plan, const iris_plan_calls *calls) {
    pieces(mapper, offset, len, facts->store & IRIS_RANGE_READ ? IRIS_READ : IRIS_READ_WHOLE, IRIS_ALWAYS, plan,
           calls);
    return NULL;
}

static const char *striped_truncate(const void *mapper, const iris_facts *facts, uint64_t size, iris_plan *plan,
                                    const iris_plan_calls *calls) {
    const struct striped *m = mapper;
    for (uint64_t i = 0; i < m->width; i++) {
        uint64_t now = length(m, i, size);
        if (now == length(m, i, facts->size)) continue;
        if (now) {
            iris_piece cut = {.number = i, .how = IRIS_CUT, .at = now, .offset = size};
            calls->piece(plan, &cut);
        } else {
            iris_objects gone = {.first = i, .count = 1};
            calls->remove(plan, &gone);
        }
    }
    return NULL;
}

static const char *striped_remove(const void *mapper, const iris_facts *facts, iris_plan *plan,
                                  const iris_plan_calls *calls) {
    const struct striped *m = mapper;
    iris_objects all = {.first = 0, .count = m->width};
    (void)facts;
    calls->remove(plan, &all);
    return NULL;
}

static int striped_standing(const void *mapper, const iris_facts *facts, uint32_t level, uint64_t number) {
    const struct striped *m = mapper;
    return level == 0 && number < m->width && length(m, number, facts->size) ? IRIS_NEEDED : IRIS_UNKNOWN;
}

static const iris_mapper striped = {
    .abi = IRIS_MAPPER_ABI,
    .size = sizeof(iris_mapper),
    .name = "striped",
    .about = "round over a few objects",
    .create = striped_create,
    .destroy = free,
    .plan_write = striped_write,
    .plan_read = striped_read,
    .plan_truncate = striped_truncate,
    .plan_remove = striped_remove,
    .standing = striped_standing,
};

/* ---- logged -------------------------------------------------------------------------------------------------- */

/* One line of the list: a write, a cut of the file to `offset` bytes, or an object that was deleted. */
struct line {
    uint64_t object, offset;
    uint32_t len;
    enum { WRITE, CUT, GONE } kind;
};

struct logged {
    struct line *lines;
    size_t count, room;
};

/* A line as a record; bytes in a fixed order, because the journal may be read by another machine. */
static iris_record pack(const struct line *l) {
    iris_record r = {{0}};
    for (int i = 0; i < 8; i++) r.bytes[i] = (uint8_t)(l->object >> 8 * i), r.bytes[8 + i] = (uint8_t)(l->offset >> 8 * i);
    for (int i = 0; i < 4; i++) r.bytes[16 + i] = (uint8_t)(l->len >> 8 * i);
    r.bytes[20] = (uint8_t)l->kind;
    return r;
}

static struct line unpack(const iris_record *r) {
    struct line l = {0};
    for (int i = 0; i < 8; i++) l.object |= (uint64_t)r->bytes[i] << 8 * i, l.offset |= (uint64_t)r->bytes[8 + i] << 8 * i;
    for (int i = 0; i < 4; i++) l.len |= (uint32_t)r->bytes[16 + i] << 8 * i;
    l.kind = r->bytes[20];
    return l;
}

static const char *logged_create(const char *options, void **mapper) {
    if (*options) return "it has no options";
    *mapper = calloc(1, sizeof(struct logged));
    return *mapper ? NULL : "no memory";
}

static void logged_destroy(void *mapper) {
    free(((struct logged *)mapper)->lines);
    free(mapper);
}

static void logged_reset(void *mapper) { ((struct logged *)mapper)->count = 0; }

static const char *add(struct logged *m, struct line l) {
    if (m->count == m->room) {
        size_t room = m->room ? 2 * m->room : 64;
        struct line *lines = realloc(m->lines, room * sizeof *lines);
        if (!lines) return "no memory";
        m->lines = lines;
        m->room = room;
    }
    m->lines[m->count++] = l;
    return NULL;
}

static const char *logged_apply(void *mapper, const iris_record *record) {
    struct line l = unpack(record);
    if (l.kind != WRITE && l.kind != CUT) return "a record of an unknown kind";
    return add(mapper, l);
}

/* The newest line that says what byte `at` is, or NULL; *until is where that ends, at most. */
static const struct line *newest(const struct logged *m, uint64_t at, uint64_t *until) {
    for (size_t i = m->count; i--;) {
        const struct line *l = &m->lines[i];
        if (l->kind == CUT && at >= l->offset) return NULL;
        if (l->kind == CUT && l->offset < *until) *until = l->offset;
        if (l->kind != WRITE) continue;
        if (at < l->offset && l->offset < *until) *until = l->offset;
        if (at < l->offset || at >= l->offset + l->len) continue;
        if (l->offset + l->len < *until) *until = l->offset + l->len;
        return l;
    }
    return NULL;
}

static const char *logged_write(const void *mapper, const iris_facts *facts, uint64_t offset, uint64_t len,
                                uint64_t fresh, iris_plan *plan, const iris_plan_calls *calls) {
    (void)mapper;
    uint64_t most = facts->max_object < (1 << 30) ? facts->max_object : (1 << 30);
    while (len) {
        uint64_t n = len < most ? len : most;
        struct line line = {.object = fresh, .offset = offset, .len = (uint32_t)n, .kind = WRITE};
        iris_piece piece = {.number = fresh, .how = IRIS_PUT, .offset = offset, .len = n,
                            .guard = facts->store & IRIS_CONDITIONAL_PUT ? IRIS_IF_ABSENT : IRIS_ALWAYS};
        iris_record record = pack(&line);
        calls->piece(plan, &piece);
        calls->record(plan, &record);
        calls->take(plan, 1);
        fresh++;
        offset += n;
        len -= n;
    }
    return NULL;
}

static const char *logged_read(const void *mapper, const iris_facts *facts, uint64_t offset, uint64_t len,
                               iris_plan *plan, const iris_plan_calls *calls) {
    (void)facts;
    for (uint64_t end = offset + len; offset < end;) {
        uint64_t until = end;
        const struct line *l = newest(mapper, offset, &until);
        iris_piece piece = {.how = IRIS_ZEROS, .offset = offset, .len = until - offset};
        if (l) piece.how = IRIS_READ_WRITTEN, piece.number = l->object, piece.at = offset - l->offset;
        calls->piece(plan, &piece);
        offset = until;
    }
    return NULL;
}

static const char *logged_truncate(const void *mapper, const iris_facts *facts, uint64_t size, iris_plan *plan,
                                   const iris_plan_calls *calls) {
    (void)mapper, (void)facts;
    struct line cut = {.offset = size, .kind = CUT};
    iris_record record = pack(&cut);
    calls->record(plan, &record);
    return NULL;
}

static const char *logged_remove(const void *mapper, const iris_facts *facts, iris_plan *plan,
                                 const iris_plan_calls *calls) {
    const struct logged *m = mapper;
    (void)facts;
    for (size_t i = 0; i < m->count; i++) {
        iris_objects one = {.first = m->lines[i].object, .count = 1};
        if (m->lines[i].kind == WRITE) calls->remove(plan, &one);
    }
    return NULL;
}

/* Whether any byte of a write is still read. */
static int is_read(const struct logged *m, const struct line *l) {
    for (uint64_t at = l->offset, end = at + l->len; at < end;) {
        uint64_t until = end;
        if (newest(m, at, &until) == l) return 1;
        at = until;
    }
    return 0;
}

static int logged_standing(const void *mapper, const iris_facts *facts, uint32_t level, uint64_t number) {
    const struct logged *m = mapper;
    (void)facts;
    for (size_t i = 0; i < m->count; i++)
        if (level == 0 && m->lines[i].kind == WRITE && m->lines[i].object == number)
            return is_read(m, &m->lines[i]) ? IRIS_NEEDED : IRIS_GARBAGE;
    return IRIS_UNKNOWN;
}

static void logged_garbage(const void *mapper, uint64_t limit, void *to,
                           void (*give)(void *to, const iris_objects *objects)) {
    const struct logged *m = mapper;
    for (size_t i = 0; i < m->count && limit; i++) {
        if (m->lines[i].kind != WRITE || is_read(m, &m->lines[i])) continue;
        iris_objects one = {.first = m->lines[i].object, .count = 1};
        give(to, &one);
        limit--;
    }
}

static const char *logged_collected(void *mapper, const iris_objects *objects) {
    struct logged *m = mapper;
    for (size_t i = 0; i < m->count; i++)
        if (m->lines[i].kind == WRITE && m->lines[i].object - objects->first < objects->count)
            m->lines[i].kind = GONE; /* It hides nothing: newer lines cover all of it. */
    return NULL;
}

static void logged_snapshot(const void *mapper, void *to, void (*give)(void *to, const iris_record *record)) {
    const struct logged *m = mapper;
    for (size_t i = 0; i < m->count; i++) {
        iris_record record = pack(&m->lines[i]);
        if (m->lines[i].kind != GONE) give(to, &record);
    }
}

static const iris_mapper logged = {
    .abi = IRIS_MAPPER_ABI,
    .size = sizeof(iris_mapper),
    .name = "logged",
    .about = "each write a new object, with an index",
    .create = logged_create,
    .destroy = logged_destroy,
    .plan_write = logged_write,
    .plan_read = logged_read,
    .plan_truncate = logged_truncate,
    .plan_remove = logged_remove,
    .standing = logged_standing,
    .apply = logged_apply,
    .garbage = logged_garbage,
    .collected = logged_collected,
    .snapshot = logged_snapshot,
    .reset = logged_reset,
};

const iris_mapper *iris_mapper_v1(unsigned number) {
    static const iris_mapper *const all[] = {&striped, &logged};
    return number < sizeof all / sizeof *all ? all[number] : NULL;
}
