# Shells and text tools: redirections of every kind, here-documents, pipes, sed -i, perl -i, sort, tee, flock, mktemp.
# needs: perl-base mawk
# deadline: 120
set -eu
export LC_ALL=C

for shell in bash dash; do
  mkdir $shell
  (
    cd $shell
    $shell -e <<'SCRIPT'
echo one >a; echo two >>a; cat <a; cat a >b 2>&1; echo three >>b
exec 3>c; echo by descriptor >&3; echo again 1>&3; exec 3>&-
exec 4<c; read line <&4; echo "read: $line"; read line <&4; echo "read: $line"; exec 4<&-
exec 5<>c; read first <&5; echo "over" >&5; exec 5>&-; cat c
i=0; while [ $i -lt 300 ]; do echo "line $i" >>loop; i=$((i + 1)); done
while read -r l; do case $l in *7) echo "$l";; esac; done <loop >sevens
(echo sub; echo shell) >sub & wait; cat sub
{ echo group; echo err >&2; } >both 2>&1; cat both
cat >here <<END
a here-document of $(wc -l <loop) lines
END
cat here
tac loop | tail -n 3 | tee t1 t2 | tee t3 >/dev/null; tail -n 1 loop | tee -a t1; cat t1 t2 t3
: >empty; echo clobber >|empty; wc -c <empty
SCRIPT
  )
done
bash -c 'shopt -s lastpipe; mapfile -t x < <(cat bash/loop); echo ${#x[@]}; printf "%s\n" "${x[@]:0:3}" > bash/mapped'
sed -i 's/line/LINE/; 5,9d' bash/loop
sed -n '1~50p' -i.orig dash/loop
perl -pi -e 's/LINE (\d+)/$1 * 2/e' bash/loop
perl -e 'open(F, "+<", "bash/loop") or die; my $l = <F>; seek(F, 0, 1); print F "X"; seek(F, -4, 2); read(F, my $b, 4); print $b; close F'
awk 'NR % 3 == 0 { print > "third.txt" } { print $1 >> "all.txt" } END { close("all.txt"); while ((getline l < "all.txt") > 0) n++; print n }' bash/loop
perl -e 'my $x = 3; for (1..60000) { $x = ($x * 1103515245 + 12345) & 0x7fffffff; print "$x\n" }' >unsorted
sort -n -S 64k -T . unsorted >sorted && sort -n -c sorted && sort -u -o sorted sorted && wc -l sorted
join <(sort bash/sevens) <(sort bash/sevens) | tail -n 2
paste -d, sorted unsorted | tail -n 3
diff -u --label a --label b bash/a bash/b || true
find . -type f -size +100k -printf '%p %s\n' | sort
find . -name 't*' -type f -exec grep -c line {} + | sort
ls -1 bash | xargs -n 2 echo | tail -n 4
# Eight writers append to one file at once: every line must be there once.
for w in 1 2 3 4 5 6 7 8; do (for i in $(seq 100); do echo "writer $w line $i" >>appended; done) & done
wait
sort -o appended appended
wc -l <appended
# A counter under a lock.
echo 0 >counter
for w in 1 2 3 4; do (for i in $(seq 25); do flock lock sh -c 'n=$(cat counter); echo $((n + 1)) >counter'; done) & done
wait
cat counter
t=$(mktemp ./tmp.XXXXXX) && echo temp >"$t" && cat "$t" && rm "$t"
mkfifo pipe && (echo through a fifo >pipe &) && cat pipe && rm pipe
head -c 100 sorted >sorted2; tail -c 50 sorted >>sorted2; cmp sorted sorted2 || true
tail -n 2 sorted; wc sorted2; od -c sorted2 | tail -n 2; md5sum sorted2; cut -c1-3 bash/loop | uniq -c | sort | tail -n 2
nl bash/a >numbered; fmt -w 20 bash/here >formatted; tr a-z A-Z <bash/a >upper; expand bash/a | fold -w 2 >folded
(cd bash && echo 'relative' >../rel && cat ../rel && cd .. && cat ./bash/../rel)
