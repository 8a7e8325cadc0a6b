/* Linked to late_library: ends in one of three ways. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
void library_begin(const char *path);
int main(int argc, char **argv)
{
    if (argc < 3)
        return 90;
    library_begin(argv[1]);
    if (!strcmp(argv[2], "exit"))
        exit(11);
    if (!strcmp(argv[2], "_exit"))
        _exit(12);
    return 10;
}
