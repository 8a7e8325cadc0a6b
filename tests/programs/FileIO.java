import java.io.*;
import java.nio.ByteBuffer;
import java.nio.MappedByteBuffer;
import java.nio.channels.*;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.nio.file.attribute.*;
import java.util.*;
import java.util.stream.*;
import java.util.zip.*;

/** Uses each of Java's ways to a file on the folder given, and prints what it saw. */
public class FileIO {
    static Path dir;

    static Path at(String name) { return dir.resolve(name); }

    static long sum(Path p) throws IOException {
        CRC32 crc = new CRC32();
        crc.update(Files.readAllBytes(p));
        return crc.getValue();
    }

    static void say(String what, Object value) { System.out.println(what + ": " + value); }

    public static void main(String[] args) throws Exception {
        dir = Paths.get(args[0]);
        Random random = new Random(42);
        byte[] bytes = new byte[300_000];
        random.nextBytes(bytes);

        try (OutputStream out = new FileOutputStream(at("stream").toFile())) {
            for (int i = 0; i < bytes.length; i += 100) out.write(bytes, i, Math.min(100, bytes.length - i));
        }
        say("stream", sum(at("stream")));
        try (InputStream in = new FileInputStream(at("stream").toFile())) {
            say("available", in.available());
            in.skip(1000);
            say("byte", in.read());
            say("rest", in.readAllBytes().length);
        }

        try (RandomAccessFile f = new RandomAccessFile(at("random").toFile(), "rw")) {
            f.setLength(100_000);
            for (int i = 0; i < 5000; i++) {
                f.seek(random.nextInt(99_000));
                f.writeLong(random.nextLong());
            }
            f.seek(f.length());
            f.writeUTF("the end");
            f.seek(100_000);
            say("utf", f.readUTF());
            f.setLength(50_000);
            say("pointer", f.getFilePointer());
            say("length", f.length());
        }
        say("random", sum(at("random")));

        try (FileChannel c = FileChannel.open(at("channel"), StandardOpenOption.CREATE, StandardOpenOption.READ,
                StandardOpenOption.WRITE)) {
            ByteBuffer direct = ByteBuffer.allocateDirect(4096);
            for (int i = 0; i < 64; i++) {
                direct.clear();
                direct.put(bytes, i * 4096, 4096).flip();
                c.write(direct, (63 - i) * 4096L);
            }
            ByteBuffer[] parts = { ByteBuffer.wrap(bytes, 0, 10), ByteBuffer.wrap(bytes, 10, 5000), ByteBuffer.wrap(bytes, 0, 1) };
            c.position(c.size());
            say("gather", c.write(parts));
            ByteBuffer[] into = { ByteBuffer.allocate(7), ByteBuffer.allocate(9000) };
            c.position(4000);
            say("scatter", c.read(into));
            say("size", c.size());
            try (FileLock lock = c.lock(0, 100, false)) { say("lock", lock.isValid()); }
            MappedByteBuffer map = c.map(FileChannel.MapMode.READ_WRITE, 100, 8192);
            for (int i = 0; i < 8192; i += 3) map.put(i, (byte) i);
            map.force();
            ByteBuffer seen = ByteBuffer.allocate(8192);
            c.read(seen, 100);
            boolean same = true;
            for (int i = 0; i < 8192; i++) same &= seen.get(i) == map.get(i);
            say("map and read agree", same);
            c.write(ByteBuffer.wrap("after the map".getBytes()), 200);
            say("write seen in map", (char) map.get(100) + "" + (char) map.get(101));
            c.truncate(200_000);
            c.force(true);
            try (FileChannel d = FileChannel.open(at("transferred"), StandardOpenOption.CREATE, StandardOpenOption.WRITE)) {
                say("transferTo", c.transferTo(10, 150_000, d));
                say("transferFrom", d.transferFrom(c.position(0), 150_000, 1000));
            }
        }
        say("channel", sum(at("channel")));
        say("transferred", sum(at("transferred")));

        Files.copy(at("channel"), at("copy"), StandardCopyOption.COPY_ATTRIBUTES);
        Files.move(at("copy"), at("moved"), StandardCopyOption.ATOMIC_MOVE);
        Files.write(at("lines"), IntStream.range(0, 2000).mapToObj(i -> "line " + i).collect(Collectors.toList()));
        Files.write(at("lines"), List.of("appended"), StandardOpenOption.APPEND);
        say("lines", Files.lines(at("lines")).count());
        Files.createSymbolicLink(at("link"), Paths.get("lines"));
        Files.createLink(at("hard"), at("lines"));
        Files.setLastModifiedTime(at("lines"), FileTime.fromMillis(1_600_000_000_000L));
        say("time", Files.getLastModifiedTime(at("link")));
        Files.setPosixFilePermissions(at("moved"), PosixFilePermissions.fromString("rw-r-----"));
        say("mode", PosixFilePermissions.toString(Files.getPosixFilePermissions(at("moved"))));
        say("links", Files.getAttribute(at("hard"), "unix:nlink"));
        Files.createDirectories(at("a/b/c"));
        Path temp = Files.createTempFile(at("a/b"), "x", ".tmp");
        Files.delete(temp);
        try (BufferedWriter w = Files.newBufferedWriter(at("a/b/c/text"), StandardCharsets.UTF_16)) { w.write("ünïcode"); }
        try (PrintWriter w = new PrintWriter(at("print").toFile())) { for (int i = 0; i < 999; i++) w.printf("%d %.3f%n", i, i / 7.0); }
        try (ZipOutputStream z = new ZipOutputStream(new FileOutputStream(at("z.zip").toFile()))) {
            ZipEntry e = new ZipEntry("inside");
            e.setTime(1_600_000_000_000L);
            z.putNextEntry(e);
            z.write(bytes);
        }
        try (ZipFile z = new ZipFile(at("z.zip").toFile())) {
            say("zip", z.getInputStream(z.getEntry("inside")).readAllBytes().length);
        }
        try { Files.createFile(at("lines")); } catch (FileAlreadyExistsException e) { say("exists", "refused"); }
        try { Files.newInputStream(at("nothing")); } catch (NoSuchFileException e) { say("nothing", "refused"); }

        Thread[] threads = new Thread[4];
        try (FileChannel c = FileChannel.open(at("threads"), StandardOpenOption.CREATE, StandardOpenOption.WRITE, StandardOpenOption.READ)) {
            for (int t = 0; t < 4; t++) {
                final int me = t;
                threads[t] = new Thread(() -> {
                    try {
                        for (int i = me; i < 2000; i += 4) c.write(ByteBuffer.wrap(bytes, i * 100, 100), i * 100L);
                    } catch (IOException e) { throw new UncheckedIOException(e); }
                });
                threads[t].start();
            }
            for (Thread t : threads) t.join();
        }
        say("threads", sum(at("threads")));
        Process p = new ProcessBuilder("sh", "-c", "cat lines | wc -l; echo by a child").directory(dir.toFile())
                .redirectOutput(at("child").toFile()).start();
        say("child", p.waitFor() + " " + Files.readString(at("child")).strip().replace("\n", " / "));
        try (Stream<Path> walk = Files.walk(dir)) {
            walk.map(q -> dir.relativize(q).toString()).sorted().forEach(System.out::println);
        }
    }
}
