# A small C tree with make and a small crate with cargo, both offline; the binaries must run and be the same bytes.
# needs: gcc libc6-dev make binutils
# deadline: 300
set -eu
export LC_ALL=C SOURCE_DATE_EPOCH=1700000000
unset CARGO_TARGET_DIR

mkdir c && cd c
{
  echo 'CFLAGS = -O1 -g -Wall'
  printf 'OBJ ='; for i in $(seq 1 25); do printf ' f%d.o' "$i"; done; echo
  echo 'prog: main.o libf.a ; $(CC) -o $@ main.o -L. -lf'
  echo 'libf.a: $(OBJ) ; ar rcsD $@ $^'
  echo '-include deps.mk'
  echo 'deps.mk: ; $(CC) -MM *.c > $@'
  echo 'clean: ; rm -f *.o libf.a prog deps.mk'
} >Makefile
for i in $(seq 1 25); do
  echo "int f$i(int x);" >"f$i.h"
  { echo "#include \"f$i.h\""; echo "#include <string.h>"; echo "int f$i(int x) { char b[64]; memset(b, x, sizeof b); return b[$i] + x * $i; }"; } >"f$i.c"
done
{
  for i in $(seq 1 25); do echo "#include \"f$i.h\""; done
  echo '#include <stdio.h>'
  echo 'int main(void) { int s = 0;'
  for i in $(seq 1 25); do echo "s += f$i(s & 63);"; done
  echo 'printf("%d\n", s); return 0; }'
} >main.c
make -s -j2 prog
./prog
touch -d '2 hours' f3.h
make -j2 prog | grep -c . || true
./prog
gcc -shared -fPIC -O2 -flto -o libx.so f1.c f2.c && nm -D --defined-only libx.so | awk '{ print $3 }' | sort
strip -o stripped prog && ./stripped
make -s clean
cd ..

command -v cargo >/dev/null || { echo "cargo is not in PATH"; exit 1; }
mkdir -p crate/src
printf '[package]\nname = "tiny"\nversion = "0.1.0"\nedition = "2021"\n' >crate/Cargo.toml
cat >crate/src/main.rs <<'RUST'
use std::{fs, io::Write};
fn main() -> std::io::Result<()> {
    let mut f = fs::File::create("out.txt")?;
    for i in 0..1000 { writeln!(f, "{i}")?; }
    drop(f);
    fs::copy("out.txt", "copy.txt")?;
    let n: u64 = fs::read_to_string("copy.txt")?.lines().map(|l| l.parse::<u64>().unwrap()).sum();
    println!("{n}");
    Ok(())
}
RUST
cd crate
cargo build -q --offline
cargo build -q --offline --release
./target/release/tiny
./target/debug/tiny
sed -i 's/0\.\.1000/0..2000/' src/main.rs
touch -d '2 hours' src/main.rs
cargo run -q --offline
rm -rf target
