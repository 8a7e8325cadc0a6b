# Copies and archives: cp -a, tar, rsync, gzip, xz, dd, split, install. Times and modes are part of the comparison.
# needs: rsync xz-utils bzip2 perl-base
# deadline: 120
set -eu
export LC_ALL=C TZ=UTC

mkdir -p src/deep/er
for i in $(seq 1 60); do seq "$i" $((i * 37 + 50)) >"src/deep/f$i.txt"; done
head -c 3000000 "$(readlink -f /bin/bash)" >/dev/null
perl -e 'my $x = 7; for (1..400000) { $x = ($x * 1103515245 + 12345) & 0x7fffffff; print pack("N", $x) }' >src/random.bin
perl -e 'seek(STDOUT, 5_000_000, 0); print "end of a hole\n"' >src/sparse.bin
: >src/empty
ln -s deep/f1.txt src/soft
ln src/random.bin src/hard.bin
chmod 640 src/deep/f2.txt
chmod 555 src/deep/f3.txt
find src -exec touch -h -d '2020-01-02 03:04:05.678901234' {} +
listing() { find "$1" -printf '%P %y %m %n %s %T+\n' | grep -v ' d ' | sort; }

cp -a src copy
cp -r --reflink=never src/deep copy2
cp --sparse=always src/sparse.bin sparse2.bin
listing copy
tar -cf all.tar --sort=name --owner=0 --group=0 --numeric-owner src
tar -tvf all.tar
mkdir out && tar -xpf all.tar -C out
listing out
tar -czf all.tar.gz --sort=name src && gzip -t all.tar.gz && tar -xOzf all.tar.gz src/hard.bin | cmp - src/random.bin
tar -cJf all.tar.xz --sort=name src/deep && xz -t all.tar.xz && tar -tJf all.tar.xz | wc -l
bzip2 -k src/deep/f60.txt && bzip2 -dc src/deep/f60.txt.bz2 | cmp - src/deep/f60.txt
tar -rf all.tar src/deep/f60.txt.bz2 && tar -tf all.tar | tail -n 1

rsync -a src/ synced/
seq 1 9999 >src/deep/f7.txt
touch -d '2021-01-01' src/deep/f7.txt
rm src/deep/f8.txt
rsync -a -O --delete --itemize-changes src/ synced/ | sort
rsync -a --inplace --no-whole-file src/random.bin synced/random.bin
rsync -ancO --delete --itemize-changes src/ synced/
listing synced

dd if=src/random.bin of=dd1 bs=1000 2>/dev/null
dd if=src/random.bin of=dd2 bs=64k conv=fsync oflag=append conv=notrunc 2>/dev/null
dd if=/dev/zero of=dd1 bs=777 count=3 seek=5 conv=notrunc 2>/dev/null
dd if=src/random.bin of=dd3 bs=512 skip=3 count=40 iflag=fullblock 2>/dev/null
split -b 100000 -d src/random.bin part. && cat part.* | cmp - src/random.bin
install -m 600 -D src/random.bin deep/down/installed
mv src/deep/f9.txt moved.txt
mv -T copy2 renamed
truncate -s 12345 dd3
truncate -s +1M dd3
shred -n 1 -z --random-source=/dev/zero dd2
rm -rf all.tar.gz all.tar.xz
