# dbench: the recorded load of a file server, two clients; it stops at the first call that fails.
# needs: dbench
# deadline: 120
set -eu
mkdir clients
status=0
dbench -c /usr/share/dbench/client.txt -D "$PWD/clients" -t 5 2 >"$TOOLS/dbench.out" 2>&1 || status=$?
[ $status = 0 ] || tail -n 15 "$TOOLS/dbench.out" >&2
grep -o '^Throughput' "$TOOLS/dbench.out" || true
echo "status $status"
rm -rf clients
exit $status
