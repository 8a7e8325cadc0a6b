# stress-ng's file stressors, with verification where they have it.
# needs: stress-ng
# deadline: 240
set -eu
bad=0
run() {
  local status=0
  stress-ng --temp-path "$PWD" --timeout 20s --seed 42 --verify --quiet "$@" >"$TOOLS/stress.out" 2>&1 || status=$?
  echo "$* : $status"
  [ $status = 0 ] || bad=1
  [ $status = 0 ] || cat "$TOOLS/stress.out" >&2
}
run --hdd 1 --hdd-bytes 16m --hdd-ops 200 --hdd-opts wr-rnd,rd-rnd
run --hdd 1 --hdd-bytes 16m --hdd-ops 200 --hdd-opts wr-seq,rd-seq --hdd-write-size 512
run --hdd 1 --hdd-bytes 8m --hdd-ops 100 --hdd-opts iovec,fsync
run --hdd 1 --hdd-bytes 8m --hdd-ops 100 --hdd-opts direct,wr-rnd
run --hdd 2 --hdd-bytes 8m --hdd-ops 200 --hdd-opts dsync,fadv-rnd --hdd-write-size 4096
run --seek 2 --seek-ops 500 --seek-size 4m
run --readahead 1 --readahead-ops 200 --readahead-bytes 4m
run --fallocate 1 --fallocate-ops 20 --fallocate-bytes 4m
run --copy-file 1 --copy-file-ops 20 --copy-file-bytes 128m
run --sendfile 1 --sendfile-ops 100
run --rename 2 --rename-ops 200
run --link 1 --link-ops 50 --symlink 1 --symlink-ops 50
run --dir 1 --dir-ops 50 --dentry 1 --dentry-ops 200
run --dup 1 --dup-ops 50 --open 1 --open-ops 200
run --fstat 1 --fstat-ops 50 --utime 1 --utime-ops 50 --chmod 1 --chmod-ops 50
run --flock 2 --flock-ops 200 --lockf 2 --lockf-ops 200 --fcntl 1 --fcntl-ops 100 --locka 1 --locka-ops 100
run --aio 1 --aio-ops 100 --revio 1 --revio-ops 100 --revio-bytes 2m
run --filename 1 --filename-ops 50 --getdent 1 --getdent-ops 50
run --sync-file 1 --sync-file-ops 50 --sync-file-bytes 2m
run --mmap 1 --mmap-file --mmap-ops 5 --mmap-bytes 4m
exit $bad
