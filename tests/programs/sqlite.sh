# SQLite: eight processes on one database, in WAL and in rollback mode and with memory mapping; then vacuum, backup,
# and the integrity check. The content does not depend on who came first, so it can be compared.
# needs: sqlite3 python3
# deadline: 240
set -eu

cat >work.py <<'END'
import sqlite3, sys
def explain(kind, error, trace):
    print(sys.argv, kind.__name__, error, getattr(error, "sqlite_errorname", ""), "line", trace.tb_lineno, file=sys.stderr)
sys.excepthook = explain
name, worker, mode = sys.argv[1], int(sys.argv[2]), sys.argv[3]
db = sqlite3.connect(name, timeout=120, isolation_level=None)
db.execute(f"pragma mmap_size={(1 << 24) if mode == 'mmap' else 0}")
db.execute("pragma synchronous=normal")
for i in range(60):
    db.execute("begin immediate")
    for j in range(20):
        k = worker * 100000 + i * 100 + j
        db.execute("insert into t values (?, ?, ?)", (k, f"{k:x}" * (k % 40), worker))
    db.execute("update total set n = n + 20")
    db.execute("commit")
    n, m = db.execute("select (select count(*) from t), (select n from total)").fetchone()
    assert n == m, (n, m)
if worker % 2:
    db.execute("begin immediate")
    gone = db.execute("delete from t where worker = ? and k % 7 = 0", (worker,)).rowcount
    db.execute("update total set n = n - ?", (gone,))
    db.execute("commit")
END
bad=0
for mode in wal delete mmap truncate; do
  journal=$mode; [ $mode != mmap ] || journal=wal
  sqlite3 $mode.db "pragma journal_mode=$journal; create table t(k integer primary key, v text, worker int);
    create index byv on t(v); create table total(n); insert into total values (0);"
  pids=
  for w in 1 2 3 4 5 6 7 8; do /usr/bin/python3 work.py $mode.db $w $mode & pids="$pids $!"; done
  for p in $pids; do wait "$p" || { echo "a worker failed"; bad=1; }; done
  sqlite3 $mode.db "pragma integrity_check; select count(*), sum(k), sum(length(v)) from t; select n from total;"
  sqlite3 $mode.db "pragma wal_checkpoint(truncate);" >/dev/null
  sqlite3 $mode.db "vacuum;" ".backup $mode.bak"
  sqlite3 $mode.bak "pragma integrity_check; pragma journal_mode=delete" >/dev/null
  sqlite3 $mode.bak ".dump" | sha256sum
  rm -f $mode.db $mode.db-wal $mode.db-shm $mode.bak*
done
exit $bad
