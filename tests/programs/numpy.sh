# NumPy's ways to a file: tofile, fromfile, save, savez, memmap, savetxt, and Python's own beside them.
# needs: python3 python3-numpy
# deadline: 120
set -eu
export OPENBLAS_NUM_THREADS=1
/usr/bin/python3 - <<'END'
import numpy as np, hashlib, os
r = np.random.RandomState(1)
a = r.rand(300, 500)
def show(name):
    print(name, os.path.getsize(name), hashlib.sha256(open(name, "rb").read()).hexdigest())
a.tofile("plain.bin"); show("plain.bin")
with open("mixed.bin", "wb") as f:
    f.write(b"header\n"); a[:10].tofile(f); f.write(b"middle"); np.arange(1000).tofile(f); print(f.tell()); f.write(b"end")
show("mixed.bin")
with open("mixed.bin", "rb") as f:
    assert f.readline() == b"header\n"
    b = np.fromfile(f, dtype="f8", count=5000); assert (b.reshape(10, 500) == a[:10]).all()
    print(f.read(6), f.tell())
    c = np.fromfile(f, dtype="i8", count=1000); print(c.sum(), f.read())
with open("many.bin", "ab") as f:
    for row in a: row.tofile(f)
show("many.bin")
np.save("a.npy", a); show("a.npy"); assert (np.load("a.npy") == a).all()
m = np.load("a.npy", mmap_mode="r+"); m[5, :] = 7; m.flush(); print(float(np.load("a.npy")[5].sum())); del m
np.savez("z.npz", a=a, b=np.arange(10)); print(sorted(np.load("z.npz").files)); assert (np.load("z.npz")["a"] == a).all(); os.remove("z.npz")
mm = np.memmap("map.bin", dtype="u4", mode="w+", shape=(1000, 100)); mm[:] = np.arange(100000).reshape(1000, 100)
with open("map.bin", "rb") as f:
    f.seek(4 * 777); print(int.from_bytes(f.read(4), "little"))
mm[3, 3] = 42; mm.flush(); del mm
with open("map.bin", "r+b") as f:
    f.seek(400); f.write(b"\1\2\3\4")
print(np.memmap("map.bin", dtype="u4", mode="r")[100]); show("map.bin")
np.savetxt("t.txt", a[:50, :5], fmt="%.6f"); print(np.loadtxt("t.txt").sum().round(6)); show("t.txt")
np.savetxt("t.csv", np.arange(60).reshape(20, 3), delimiter=",", header="x,y,z"); print(np.genfromtxt("t.csv", delimiter=",").sum())
END
