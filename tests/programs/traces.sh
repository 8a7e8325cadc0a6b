# Recorded I/O of scientific codes, replayed byte for byte, with descriptors and with stdio. The traces of the
# folder $IRIS_TRACES when it is given, and always four that are made here.
# needs: mawk
# deadline: 300
set -eu
export LC_ALL=C
mkdir traces
# Small headers and large blocks; a strided checkpoint; re-reading what was just written; many opens and closes.
awk 'BEGIN { print "FOPEN,0,0"; for (i = 0; i < 300; i++) { n = i % 7 == 6 ? 131056 : 16 + i % 40; print "WRITE," p + 0 "," n; p += n } }' >traces/headers.csv
awk 'BEGIN { print "FOPEN,0,0"; for (r = 0; r < 8; r++) for (i = 0; i < 200; i++) { p = (i * 8 + r) * 1000; print "LSEEK,0," p; print "WRITE," p ",1000" } }' >traces/strided.csv
awk 'BEGIN { print "FOPEN,0,0"; for (i = 0; i < 400; i++) { print "WRITE," i * 300 ",300"; if (i > 3) print "READ," (i - 3) * 300 + 50 ",700" } print "READ,0,65536" }' >traces/reread.csv
awk 'BEGIN { srand(1); for (i = 0; i < 200; i++) { print "FOPEN,0,0"; p = int(rand() * 50000); print "READ," p ",100"; print "WRITE," p + 100 ",28"; print "WRITE," p + 128 ",4096"; print "FCLOSE,0,0" } }' >traces/opens.csv
mkdir files
for trace in traces/*.csv ${IRIS_TRACES:+"$IRIS_TRACES"/*.csv}; do
  name=$(basename "$trace" .csv)
  for how in posix stdio; do
    d=files/$name-$how
    mkdir "$d"
    for mode in prepare run verify prepare check verify; do
      "$TOOLS/replay" $mode "$trace" "$d" 2 $how >"$TOOLS/replay.out" || { echo "$name $how: $mode failed"; exit 1; }
    done
    echo "$name $how $(cd "$d" && cat rank-*.dat | sha256sum)"
    # What is large was compared here; the small ones are left for the comparison of the two folders.
    find "$d" -size +16M -delete
  done
done
rm -r traces
