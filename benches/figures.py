"""Runs the measurements and prints the table; started by scripts/bench, which builds the tools.

Every figure is taken in turn, native, Iris, native, Iris …, on the same directory, and is the quotient of the
medians. The times are from before open to after close, taken inside the measured program; after each run another
program, without Iris, checks every byte of the file."""
import argparse
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

KIB, MIB = 1024, 1024 * 1024


def arguments():
    parser = argparse.ArgumentParser()
    for name in ("tools", "dir", "pfs", "lib", "pipeline", "only", "json"):
        parser.add_argument("--" + name, default="")
    parser.add_argument("--runs", type=int, default=7)
    return parser.parse_args()


class Bench:
    def __init__(self, args):
        self.args = args
        self.rows = []
        self.groups = args.only.split(",")

    def tool(self, name):
        return os.path.join(self.args.tools, name)

    def iris(self, mount, settings=None):
        """The environment of a run under Iris."""
        env = dict(os.environ, LD_PRELOAD=self.args.lib, IRIS_MOUNT=mount)
        env.update(settings or {})
        return env

    def run(self, command, env=None, cwd=None):
        done = subprocess.run(command, env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            preload = "under Iris" if env and "LD_PRELOAD" in env else "natively"
            sys.exit(f"error: {' '.join(command)} failed {preload} ({done.returncode}): {done.stdout}{done.stderr}")
        return done.stdout

    def row(self, name, native, iris, target, unit="s", least=None, log=None):
        n, i = statistics.median(native), statistics.median(iris)
        ratio = n / i
        self.rows.append({"name": name, "native": n, "iris": i, "unit": unit, "ratio": ratio, "target": target,
                          "met": target is None or ratio >= target, "native_runs": native, "iris_runs": iris})
        limit = " " * 19
        if least:
            self.rows[-1].update(limit=n / statistics.median(least), least_runs=least)
            limit = f"{self.rows[-1]['limit']:8.2f}x" + " " * 10
        if log:
            self.rows[-1].update(log=n / statistics.median(log), log_runs=log)
            limit = f"{limit[:9]} {self.rows[-1]['log']:8.2f}x"
        scale, name_of_unit = (1e9, "ns") if unit == "ns" else (1e3, "ms")
        show = f"{n * scale:12.2f} {name_of_unit} {i * scale:12.2f} {name_of_unit} {ratio:8.2f}x {limit}"
        want = "" if target is None else f"{target:6.2f}x {'yes' if ratio >= target else 'NO'}"
        print(f"{name:50s} {show} {want}", flush=True)

    def cost(self, name, value, limit, unit, runs):
        self.rows.append({"name": name, "value": value, "unit": unit, "limit": limit, "met": limit is None or value < limit, "runs": runs})
        want = "" if limit is None else f"< {limit:g} {unit} {'yes' if value < limit else 'NO'}"
        print(f"{name:50s} {value:12.2f} {unit:21s}      {want}", flush=True)

    def io(self, name, what, folder, block, count, order, target, settings=None, times_as_often=1, limited=False):
        """One row of file I/O: write to a new file, over an old one, or read. With `limited`, also the least that takes
        the same writes in and leaves the same file, by writes or through pages, whichever is faster; and the same by way
        of a log."""
        path = os.path.join(folder, "bench.dat")
        work = [str(block), str(count), order]
        native, iris = [], []
        by_pages = order == "repl" and folder == self.args.dir
        fewest = {"write": ("least", "pages", "log", "log-pages") if by_pages else ("least", "log"), "over": ("least-over", "log-over")}[what] if limited else ()
        leasts = {way: [] for way in fewest}
        for _ in range(self.args.runs * times_as_often):
            for way, times in leasts.items():
                if what == "over":
                    self.run([self.tool("bench-io"), "fill", path, *work])
                times.append(float(self.run([self.tool("bench-io"), way, path, *work])))
                self.run([self.tool("bench-io"), "verify" if what == "write" else "verify-over", path, *work])
                os.unlink(path)
            for env, times in ((None, native), (self.iris(folder, settings), iris)):
                if what != "write":
                    self.run([self.tool("bench-io"), "fill", path, *work])
                times.append(float(self.run([self.tool("bench-io"), what, path, *work], env)))
                if what == "write":
                    self.run([self.tool("bench-io"), "verify", path, *work])
                elif what == "over":
                    self.run([self.tool("bench-io"), "verify-over", path, *work])
                os.unlink(path)
        def fastest(of_a_log):
            return min((times for way, times in leasts.items() if way.startswith("log") == of_a_log), key=statistics.median, default=None)

        self.row(name, native, iris, target, least=fastest(False), log=fastest(True))

    def small(self):
        orders = (("seq", "sequential"), ("perm", "random, each block once"), ("repl", "random, with repetition"))
        for block, count, target in ((64, 262144, 8), (512, 65536, 4), (4 * KIB, 16384, 1.5)):
            for order, words in orders:
                self.io(f"write {block} B, {words}", "write", self.args.dir, block, count, order, target, limited=True)
            self.io(f"write {block} B, random, over an old file", "over", self.args.dir, block, count, "perm", target, limited=True)
        # The rows before are as long as Tier 0 is by default.
        self.io("write 4096 B, random, each once, a quarter of Tier 0", "write", self.args.dir, 4 * KIB, 4096, "perm", 1.5, limited=True)

    def edge(self):
        """Where staging gains least, or nothing."""
        def turns(name, command, target):
            native, iris = [], []
            for _ in range(self.args.runs):
                for env, times in ((None, native), (self.iris(self.args.dir), iris)):
                    times.append(float(self.run(command, env)))
            self.row(name, native, iris, target)

        path = os.path.join(self.args.dir, "bench.dat")
        turns("write 64 B, the descriptor shared since a fork", [self.tool("bench-io"), "forked", path, "64", "100000", "seq"], 0.95)
        os.unlink(path)
        for files in (100, 250, 1000):
            turns(f"append 64 B, in turn to {files} files", [self.tool("bench-io"), "many", self.args.dir, "64", "200000", str(files)], 0.95)

    def large(self):
        # What is expected here is no difference; telling that from noise takes more runs.
        for block, count, target, name in ((64 * KIB, 2048, 1.0, "64 KiB"), (MIB, 256, 0.95, "1 MiB")):
            self.io(f"write {name}, sequential", "write", self.args.dir, block, count, "seq", target, times_as_often=3)
            self.io(f"write {name}, random", "write", self.args.dir, block, count, "perm", target, times_as_often=3)
            self.io(f"write {name}, over an old file", "over", self.args.dir, block, count, "seq", target, times_as_often=3)
            self.io(f"read {name}, sequential", "read", self.args.dir, block, count, "seq", target, times_as_often=3)
            self.io(f"read {name}, random", "read", self.args.dir, block, count, "perm", target, times_as_often=3)

    def read(self):
        session = {"IRIS_CONSISTENCY": "session"}
        self.io("read 64 B, sequential (session)", "read", self.args.dir, 64, 262144, "seq", 5, session)
        self.io("read 512 B, sequential (session)", "read", self.args.dir, 512, 65536, "seq", None, session)
        self.io("read 4 KiB, sequential (session)", "read", self.args.dir, 4 * KIB, 16384, "seq", None, session)
        self.io("read 64 B, sequential (posix)", "read", self.args.dir, 64, 262144, "seq", None)
        self.io("read 4 KiB, random (posix)", "read", self.args.dir, 4 * KIB, 16384, "perm", None)

    def gluster(self):
        for order, words in (("perm", "each block once"), ("repl", "with repetition")):
            self.io(f"write 4 KiB on GlusterFS, random, {words}", "write", self.args.pfs, 4 * KIB, 8192, order, 20, limited=True)
        self.io("write 4 KiB on GlusterFS, random, over an old file", "over", self.args.pfs, 4 * KIB, 8192, "perm", 20, limited=True)
        self.io("write 4 KiB on GlusterFS, sequential", "write", self.args.pfs, 4 * KIB, 8192, "seq", None, limited=True)

    def stdio(self):
        path = os.path.join(self.args.dir, "stdio.dat")
        words = {"open": "fopen, fread, fclose", "near": "fseek nearby, fread", "far": "fseek anywhere, fread",
                 "update": "r+: fseek, fwrite", "change": "r+: fseek, fread, fseek, fwrite", "print": "fprintf", "scan": "fgets"}
        for what, name in words.items():
            native, iris = [], []
            for _ in range(self.args.runs):
                for env, times in ((None, native), (self.iris(self.args.dir), iris)):
                    self.run([self.tool("stdio-cost"), "make", path, str(4 * MIB)])
                    times.append(float(self.run([self.tool("stdio-cost"), what, path, str(4 * MIB)], env)))
            self.row(f"stream, {name}", native, iris, 0.95, unit="ns")
        os.unlink(path)

    def hook(self):
        """The cost of a hook on a descriptor that is not ours: with a mount in force; with one in use beside it, in a
        process of threads; and, without a target, what the first staged write costs a process that had none, since
        glibc's calls that can be cancelled are dearer where there is a second thread, as Iris's own is."""
        mounted = os.path.join(self.args.dir, "open.dat")
        iris = self.iris(self.args.dir)
        ways = (("a descriptor not ours", ["alone"], ["alone"], 10),
                ("one beside a staged file, threads", ["threads"], ["threads", mounted], 10),
                ("one beside a staged file, no threads", ["alone"], ["alone", mounted], None))
        for words, natively, under, limit in ways:
            more = {}
            for _ in range(self.args.runs):
                native = dict(line.split() for line in self.run([self.tool("hook-cost"), *natively]).splitlines())
                with_iris = dict(line.split() for line in self.run([self.tool("hook-cost"), *under], iris).splitlines())
                for call in native:
                    more.setdefault(call, []).append(float(with_iris[call]) - float(native[call]))
            for call, values in more.items():
                self.cost(f"hook on {words}: {call}", statistics.median(values), limit, "ns", values)
        os.unlink(mounted)

    def start(self):
        for command in (["/bin/true"], ["/bin/sh", "-c", ":"], ["/bin/cat", "/dev/null"]):
            out = self.run([self.tool("start-cost"), "500", f"LD_PRELOAD={self.args.lib}", f"IRIS_MOUNT={self.args.dir}", "--", *command])
            plain, _, more = map(float, out.split())
            self.cost(f"added to a process: {' '.join(command)} ({plain:.0f} us)", more, 500, "us", [more])

    def pipeline(self, name, folder, target):
        """The pipeline in a folder. What is left of it natively in memory is its computing: no file system, and
        nothing put before one, makes it faster than that."""
        memory = tempfile.mkdtemp(prefix="iris-bench.", dir="/dev/shm") if os.path.isdir("/dev/shm") else None
        ways = [(folder, None, native := []), (folder, self.iris(folder), iris := [])]
        if memory:
            ways.append((memory, None, least := []))
        sums = {}  # of each place: some outputs name it
        try:
            for place in {place for place, _, _ in ways}:
                os.mkdir(os.path.join(place, "raw"))
                self.run([self.tool("make-sky"), "make", os.path.join(place, "raw"), "400"])
            for _ in range(self.args.runs):
                for place, env, times in ways:
                    work = os.path.join(place, "work")
                    start = time.monotonic()
                    self.run([self.args.pipeline, os.path.join(place, "raw"), work], env)
                    times.append(time.monotonic() - start)
                    sums.setdefault(place, set()).add(tree_sum(work))
                    shutil.rmtree(work)
            shutil.rmtree(os.path.join(folder, "raw"))
        finally:
            if memory:
                shutil.rmtree(memory)
        if any(len(of_place) != 1 for of_place in sums.values()):
            sys.exit("error: the pipeline does not write the same bytes each time")
        self.row(name, native, iris, target, least=least if memory else None)

    def all(self):
        known = ("small", "edge", "large", "read", "stdio", "gluster", "hook", "start", "montage", "montage-gluster")
        for group in self.groups:
            if group not in known:
                sys.exit(f"error: there is no group {group}; there are: {' '.join(known)}")
        print(f"{platform.machine()}, {os.cpu_count()} processors, Linux {platform.release()}, {filesystem(self.args.dir)}; "
              f"medians of {self.args.runs}\n")
        print(f"{'':50s} {'native':>15s} {'Iris':>15s} {'ratio':>9s} {'best':>9s} {'log':>9s} {'wanted':>7s}")
        for group in ("small", "edge", "large", "read", "stdio", "gluster"):
            if group in self.groups:
                getattr(self, group)()
        if "montage" in self.groups:
            self.pipeline(f"Montage on {filesystem(self.args.dir)}", self.args.dir, 1.0)
        if "montage-gluster" in self.groups:
            self.pipeline("Montage on GlusterFS", self.args.pfs, 2.0)
        print()
        for group in ("hook", "start"):
            if group in self.groups:
                getattr(self, group)()


def filesystem(path):
    return subprocess.run(["df", "--output=fstype", path], stdout=subprocess.PIPE, text=True, check=True).stdout.split()[-1]


def tree_sum(folder):
    whole = hashlib.sha256()
    for path, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            full = os.path.join(path, name)
            whole.update(os.path.relpath(full, folder).encode())
            with open(full, "rb") as f:
                whole.update(f.read())
    return whole.hexdigest()


def main():
    args = arguments()
    bench = Bench(args)
    bench.all()
    short = [row["name"] for row in bench.rows if not row["met"]]
    if args.json:
        with open(args.json, "w", encoding="utf-8") as out:
            json.dump({"machine": platform.machine(), "processors": os.cpu_count(), "kernel": platform.release(),
                       "filesystem": filesystem(args.dir), "runs": args.runs, "rows": bench.rows}, out, indent=1)
    print()
    print(f"{len(bench.rows) - len(short)} figures are as wanted or have no target, {len(short)} are not" + (": " + "; ".join(short) if short else ""))


main()
