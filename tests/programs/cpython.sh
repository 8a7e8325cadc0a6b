# CPython's own tests of its file classes, processes and archives; each test's result is compared by name.
# needs: python3 libpython3.11-testsuite
# deadline: 900
set -eu
mkdir tmp
status=0
TMPDIR=$PWD/tmp /usr/bin/python3 -m test -j2 --timeout 300 --tempdir="$PWD/tmp" --junit-xml "$TOOLS/cpython.xml" \
  ${CPYTHON_TESTS:-test_io test_fileio test_file test_bufio test_os test_posix test_shutil test_tempfile test_mmap \
  test_subprocess test_zipfile test_tarfile test_largefile test_pathlib test_glob test_fileinput test_dbm_dumb \
  test_gzip test_filecmp test_univnewlines test_file_eintr test_stat test_fcntl test_select test_popen} \
  >"$TOOLS/cpython.out" 2>&1 || status=$?
/usr/bin/python3 - "$TOOLS/cpython.xml" <<'END'
import sys, xml.etree.ElementTree as tree
seen = {}
for case in tree.parse(sys.argv[1]).iter("testcase"):
    kinds = {c.tag for c in case} & {"failure", "error", "skipped"}
    seen.setdefault(case.get("name"), set()).add("/".join(sorted(kinds)) or "ok")
for name in sorted(seen):
    print(name, ",".join(sorted(seen[name])))
END
echo "status $status"
[ $status = 0 ] || grep -aE '^(FAIL|ERROR|test_.* (failed|crashed))' "$TOOLS/cpython.out" | sort | uniq >&2
find tmp -mindepth 1 | sort
rm -rf tmp
