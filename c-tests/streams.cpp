// C++ file streams, alone and mixed with descriptors.
#include "common.h"
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

int main(int argc, char **argv)
{
    begin(argc, argv);
    {
        std::ofstream o(P("text"));
        o << "line one\n" << 42 << ' ' << 3.25 << std::endl;
        NSIZE("text");
        o << "unflushed";
        say("tellp %ld good %d\n", (long)o.tellp(), o.good());
    }
    FILE_IS("text");
    {
        std::ifstream i(P("text"));
        std::string s;
        int n;
        double d;
        std::getline(i, s);
        i >> n >> d;
        say("%s %d %g tellg %ld\n", s.c_str(), n, d, (long)i.tellg());
        i >> s;
        say("%s eof %d\n", s.c_str(), i.eof());
    }
    {
        std::fstream f(P("both"), std::ios::in | std::ios::out | std::ios::trunc | std::ios::binary);
        std::vector<char> big(300000), back(300000);
        fill(big.data(), big.size(), 5);
        f.write(big.data(), (std::streamsize)big.size());
        f.seekp(1000);
        f.write("middle", 6);
        f.seekg(0);
        f.read(back.data(), (std::streamsize)back.size());
        memcpy(&big[1000], "middle", 6);
        say("gcount %ld same %d\n", (long)f.gcount(), big == back);
        f.get();
        say("eof %d fail %d\n", f.eof(), f.fail());
        f.clear();
        for (int k = 0; k < 500; k++) {
            f.seekp(k * 577);
            f.put((char)('a' + k % 26));
        }
        f.flush();
        // a descriptor beside it
        int fd = open(P("both"), O_RDWR);
        CONTENT(fd);
        R(pwrite(fd, "DESCRIPTOR", 10, 50));
        f.seekg(45);
        char b[21] = {0};
        f.read(b, 20);
        say("%016lx\n", (unsigned long)hash(b, 20));
        f.seekp(0, std::ios::end);
        f << "tail";
        f.sync();
        R(lseek(fd, 0, SEEK_END));
        R(close(fd));
    }
    FILE_IS("both");
    {
        std::ofstream a(P("text"), std::ios::app), c(P("text"), std::ios::app);
        a << "A1 ";
        a.flush();
        c << "C1 ";
        c.flush();
        a << "A2 ";
    }
    FILE_IS("text");
    {
        std::ofstream o(P("text"), std::ios::ate | std::ios::in);
        say("ate %ld\n", (long)o.tellp());
        o << "ate";
        o.seekp(2);
        o << "XX";
    }
    FILE_IS("text");
    {
        std::ofstream o(P("unbuffered"));
        o.rdbuf()->pubsetbuf(nullptr, 0);
        o << "x";
        std::ofstream p;
        p.rdbuf()->pubsetbuf(nullptr, 0);
        p.open(P("unbuffered2"));
        for (int k = 0; k < 100; k++)
            p << k << ' ';
        NSIZE("unbuffered2");
        p << std::unitbuf << "unit";
        NSIZE("unbuffered2");
    }
    FILE_IS("unbuffered2");
    {
        std::ifstream none(P("absent"));
        say("open %d fail %d\n", none.is_open(), none.fail());
        std::ofstream dir(P(""));
        say("open %d\n", dir.is_open());
        std::ifstream ro(P("text"));
        std::string whole((std::istreambuf_iterator<char>(ro)), std::istreambuf_iterator<char>());
        say("%zu %016lx\n", whole.size(), (unsigned long)hash(whole.data(), whole.size()));
        std::ostringstream ss;
        std::ifstream again(P("both"), std::ios::binary);
        ss << again.rdbuf();
        std::string s = ss.str();
        say("%zu %016lx\n", s.size(), (unsigned long)hash(s.data(), s.size()));
    }
    {
        namespace fs = std::filesystem;
        std::ofstream(P("fs")) << "filesystem";
        say("size %ld\n", (long)fs::file_size(P("fs")));
        std::ofstream keep(P("fs"), std::ios::app);
        keep << " staged" << std::flush;
        say("size %ld\n", (long)fs::file_size(P("fs")));
        fs::copy_file(P("fs"), P("fs-copy"));
        fs::rename(P("fs"), P("fs-moved"));
        keep << " on" << std::flush;
        fs::resize_file(P("fs-moved"), 12);
        say("size %ld exists %d\n", (long)fs::file_size(P("fs-moved")), fs::exists(P("fs")));
        fs::create_directories(P("x/y/z"));
        std::ofstream(P("x/y/z/f")) << "deep";
        say("removed %ld\n", (long)fs::remove_all(P("x")));
    }
    FILE_IS("fs-copy");
    FILE_IS("fs-moved");
    // left open at the end of main, and a static that writes in its destructor
    static std::ofstream late(P("late"));
    late << "flushed by a static's destructor";
    return 0;
}
