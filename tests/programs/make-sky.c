/* Makes six overlapping FITS images of one known sky for the Montage pipeline, and checks the mosaic made of them.
 *   make-sky make DIR N      writes DIR/img0.fits … img5.fits of N x N pixels; the same bytes every time
 *   make-sky check MOSAIC    compares the mosaic with the sky, up to a plane (Montage cannot know the zero level)
 * Each image has its own tilted background and noise, so that the pipeline has something to correct. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CARD = 80, BLOCK = 2880, ACROSS = 3, UP = 2 };
static const double SCALE = 1e-3; /* degrees a pixel */
static const double RADIAN = M_PI / 180;

static double sky(double ra, double dec) { return 100 + 20 * sin(ra * 40) * cos(dec * 40); }

/* From pixel offsets (degrees on the tangent plane) to the sphere: the TAN projection. */
static void deproject(double x, double y, double ra0, double dec0, double *ra, double *dec) {
    double xi = x * RADIAN, eta = y * RADIAN, d0 = dec0 * RADIAN;
    double down = cos(d0) - eta * sin(d0);
    *ra = ra0 + atan2(xi, down) / RADIAN;
    *dec = atan2(sin(d0) + eta * cos(d0), sqrt(xi * xi + down * down)) / RADIAN;
}

static uint64_t state = 0x9e3779b97f4a7c15u;
static double uniform(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return ((double)(state >> 11) + 0.5) / 9007199254740992.0;
}
static double gauss(void) { return sqrt(-2 * log(uniform())) * cos(2 * M_PI * uniform()); }

static void die(const char *what, const char *name) {
    fprintf(stderr, "make-sky: %s: %s\n", name, what);
    exit(1);
}

static void card(char **at, const char *key, const char *value) {
    char line[CARD + 1];
    snprintf(line, sizeof line, value ? "%-8s= %20s" : "%s", key, value);
    memset(*at, ' ', CARD);
    memcpy(*at, line, strlen(line));
    *at += CARD;
}
static void number(char **at, const char *key, double value) {
    char text[32];
    snprintf(text, sizeof text, "%.12G", value);
    if (!strpbrk(text, ".E")) strcat(text, ".");
    card(at, key, text);
}
static void whole(char **at, const char *key, int value) {
    char text[32];
    snprintf(text, sizeof text, "%d", value);
    card(at, key, text);
}

static void put_float(unsigned char *to, double value) {
    float f = (float)value;
    uint32_t bits;
    memcpy(&bits, &f, 4);
    for (int i = 0; i < 4; i++) to[i] = (unsigned char)(bits >> (24 - 8 * i));
}
static double get_float(const unsigned char *from, int bytes) {
    uint64_t bits = 0;
    for (int i = 0; i < bytes; i++) bits = bits << 8 | from[i];
    if (bytes == 4) {
        uint32_t narrow = (uint32_t)bits;
        float f;
        memcpy(&f, &narrow, 4);
        return f;
    }
    double d;
    memcpy(&d, &bits, 8);
    return d;
}

static void make(const char *dir, int n) {
    double step = 0.8 * n * SCALE;
    for (int k = 0; k < ACROSS * UP; k++) {
        int i = k % ACROSS, j = k / ACROSS;
        double ra0 = 150 + (i - 1) * step / cos(2 * RADIAN), dec0 = 2 + (j - 0.5) * step;
        char name[4096], header[BLOCK], *at = header;
        memset(header, ' ', sizeof header);
        card(&at, "SIMPLE", "T");
        whole(&at, "BITPIX", -32);
        whole(&at, "NAXIS", 2);
        whole(&at, "NAXIS1", n);
        whole(&at, "NAXIS2", n);
        card(&at, "CTYPE1  = 'RA---TAN'", NULL);
        card(&at, "CTYPE2  = 'DEC--TAN'", NULL);
        number(&at, "CRPIX1", n / 2 + 0.5);
        number(&at, "CRPIX2", n / 2 + 0.5);
        number(&at, "CRVAL1", ra0);
        number(&at, "CRVAL2", dec0);
        number(&at, "CDELT1", -SCALE);
        number(&at, "CDELT2", SCALE);
        number(&at, "CROTA2", 0);
        number(&at, "EQUINOX", 2000);
        card(&at, "END", NULL);

        size_t pixels = (size_t)n * n, bytes = (pixels * 4 + BLOCK - 1) / BLOCK * BLOCK;
        unsigned char *data = calloc(1, bytes);
        if (!data) die("out of memory", dir);
        for (int y = 0; y < n; y++)
            for (int x = 0; x < n; x++) {
                double ra, dec;
                deproject(-SCALE * (x + 1 - (n / 2 + 0.5)), SCALE * (y + 1 - (n / 2 + 0.5)), ra0, dec0, &ra, &dec);
                put_float(data + 4 * ((size_t)y * n + x), sky(ra, dec) + 3.0 * k + 0.002 * x - 0.001 * y + 0.1 * gauss());
            }
        snprintf(name, sizeof name, "%s/img%d.fits", dir, k);
        FILE *f = fopen(name, "wb");
        if (!f) die("cannot create", name);
        if (fwrite(header, 1, sizeof header, f) != sizeof header || fwrite(data, 1, bytes, f) != bytes || fclose(f))
            die("cannot write", name);
        free(data);
    }
}

static double key(const char *header, size_t length, const char *name, const char *file) {
    for (size_t at = 0; at + CARD <= length; at += CARD)
        if (!strncmp(header + at, name, strlen(name)) && header[at + 8] == '=') return strtod(header + at + 10, NULL);
    die("a header card is missing", file);
    return 0;
}

static int check(const char *name) {
    FILE *f = fopen(name, "rb");
    if (!f) die("cannot open", name);
    char *header = NULL;
    size_t length = 0;
    for (int end = 0; !end; length += BLOCK) {
        header = realloc(header, length + BLOCK + 1);
        if (!header || fread(header + length, 1, BLOCK, f) != BLOCK) die("no FITS header", name);
        for (int c = 0; c < BLOCK; c += CARD) end |= !strncmp(header + length + c, "END     ", 8);
    }
    int nx = (int)key(header, length, "NAXIS1", name), ny = (int)key(header, length, "NAXIS2", name);
    int bytes = abs((int)key(header, length, "BITPIX", name)) / 8;
    double px = key(header, length, "CRPIX1", name), py = key(header, length, "CRPIX2", name);
    double dx = key(header, length, "CDELT1", name), dy = key(header, length, "CDELT2", name);
    double ra0 = key(header, length, "CRVAL1", name), dec0 = key(header, length, "CRVAL2", name);
    size_t pixels = (size_t)nx * ny, valid = 0;
    unsigned char *data = malloc(pixels * bytes);
    double *left = malloc(pixels * sizeof *left);
    if (!data || !left || fread(data, bytes, pixels, f) != pixels) die("too short", name);
    fclose(f);

    /* Least squares of (mosaic - sky) against a plane: normal equations in pixel units scaled to 1. */
    double m[3][4] = {{0}};
    for (size_t i = 0; i < pixels; i++) {
        double x = (double)(i % nx), y = (double)(i / nx), ra, dec, v = get_float(data + i * bytes, bytes);
        left[i] = NAN;
        if (!isfinite(v)) continue;
        deproject(dx * (x + 1 - px), dy * (y + 1 - py), ra0, dec0, &ra, &dec);
        left[i] = v - sky(ra, dec);
        double row[4] = {x / nx, y / ny, 1, left[i]};
        for (int a = 0; a < 3; a++)
            for (int b = 0; b < 4; b++) m[a][b] += row[a] * row[b];
        valid++;
    }
    for (int a = 0; a < 3; a++)
        for (int r = 0; r < 3; r++)
            if (r != a) {
                double by = m[r][a] / m[a][a];
                for (int b = 0; b < 4; b++) m[r][b] -= by * m[a][b];
            }
    double sum = 0;
    for (size_t i = 0; i < pixels; i++)
        if (isfinite(left[i])) {
            double x = (double)(i % nx) / nx, y = (double)(i / nx) / ny;
            double r = left[i] - m[0][3] / m[0][0] * x - m[1][3] / m[1][1] * y - m[2][3] / m[2][2];
            sum += r * r;
        }
    double rms = sqrt(sum / (double)(valid ? valid : 1)), part = (double)valid / (double)pixels;
    printf("mosaic of %d x %d pixels, %.1f %% covered, rms to the sky %.3f\n", nx, ny, 100 * part, rms);
    return valid && part > 0.9 && rms < 0.2 ? 0 : 1;
}

int main(int argc, char **argv) {
    if (argc == 4 && !strcmp(argv[1], "make")) {
        make(argv[2], atoi(argv[3]));
        return 0;
    }
    if (argc == 3 && !strcmp(argv[1], "check")) return check(argv[2]);
    fprintf(stderr, "usage: make-sky make DIR N | check MOSAIC\n");
    return 2;
}
