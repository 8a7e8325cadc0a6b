# The Java file classes: streams, RandomAccessFile, FileChannel, mapped buffers, Files.copy, locks, directory walks.
# needs: openjdk-17-jdk-headless
# deadline: 180
set -eu
# The collector's and the compiler's threads are not what is tested; one of each keeps it quick.
java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData "$SRC/FileIO.java" "$PWD"
