# fio with its own verification: every block written is read back and its checksum compared.
# needs: fio
# deadline: 240
set -eu
bad=0
run() {
  local name=$1 status=0; shift
  fio --name="$name" --directory="$PWD" --randseed=7 --thread=0 --size=16m --verify=crc32c --verify_fatal=1 \
    --output="$TOOLS/fio.out" "$@" >/dev/null 2>&1 || status=$?
  echo "$name: $(grep -oE 'err= *[0-9]+' "$TOOLS/fio.out" | sort | uniq -c | tr -s ' ') status $status"
  [ $status = 0 ] || bad=1
  [ $status = 0 ] || tail -n 20 "$TOOLS/fio.out" >&2
  rm -f "$name".* local-"$name"-*-verify.state
}
run psync-small --ioengine=psync --bs=512 --rw=randrw --size=4m
run psync-4k --ioengine=psync --bs=4k --rw=randrw
run psync-64k --ioengine=psync --bs=64k --rw=randrw
run psync-range --ioengine=psync --bs=512-128k --rw=write
run psync-over --ioengine=psync --bs=4k --rw=randwrite --norandommap=1 --io_size=32m
run psync-fsync --ioengine=psync --bs=4k --rw=write --fsync=64
run sync --ioengine=sync --bs=2k --rw=randwrite
run vsync --ioengine=vsync --bs=2k --rw=write
run pvsync2 --ioengine=pvsync2 --bs=16k --rw=randrw
run procs --ioengine=psync --bs=4k --rw=randwrite --numjobs=3 --size=4m
run threads --ioengine=psync --bs=4k --rw=randwrite --numjobs=3 --size=4m --thread=1
run posixaio --ioengine=posixaio --bs=4k --rw=randrw --iodepth=8
run libaio --ioengine=libaio --bs=4k --rw=randrw --iodepth=8
run libaio-direct --ioengine=libaio --direct=1 --bs=16k --rw=randrw --iodepth=8
run io_uring --ioengine=io_uring --bs=4k --rw=randrw --iodepth=8
run mmap --ioengine=mmap --bs=4k --rw=randrw
exit $bad
