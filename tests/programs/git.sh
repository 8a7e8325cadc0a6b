# git as developers use it: init, add, commit, branch, merge, rebase, gc, fsck, clone, worktree, bundle, stash.
# needs: git
# deadline: 180
set -eu
export LC_ALL=C TZ=UTC GIT_CONFIG_NOSYSTEM=1 HOME=$PWD/home
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=c GIT_COMMITTER_EMAIL=c@example.org
export GIT_AUTHOR_DATE='2024-01-01T00:00:00Z' GIT_COMMITTER_DATE='2024-01-01T00:00:00Z'
mkdir home
git config --global pack.threads 1
git config --global init.defaultBranch main
git config --global gc.auto 0
git config --global advice.detachedHead false

git init -q repo
cd repo
for i in $(seq 1 150); do mkdir -p "d$((i % 7))"; seq "$i" $((i * 11)) >"d$((i % 7))/file$i"; done
git add -A
git commit -q -m first
for r in 1 2 3 4 5; do
  for i in $(seq "$r" 9 150); do echo "round $r" >>"d$((i % 7))/file$i"; done
  git commit -q -a -m "round $r"
done
git checkout -q -b side HEAD~3
echo side >>d0/file7; git commit -q -am side
git mv d1/file1 d2/renamed; git rm -q d3/file45; git commit -q -m "moved"
git checkout -q main
git merge -q --no-edit side -m merged
git checkout -q -b topic HEAD~2; echo t >topic; git add topic; git commit -q -m topic; git rebase -q main
git checkout -q main; git cherry-pick topic >/dev/null
echo dirty >>d0/file7; git stash -q; git stash pop -q; git checkout -q -- d0/file7
git tag -a -m tagged v1
git log --format='%H %s' --all | sort
git status --porcelain
git fsck --full --strict
git count-objects -v | grep -v size
git repack -q -a -d -f --depth=10 --window=10
git gc -q --prune=now
git fsck --full
cd ..
git clone -q repo cloned
git clone -q --no-local --bare repo bare.git
git -C bare.git fsck --full
git -C repo bundle create -q ../all.bundle --all
git clone -q all.bundle frombundle
git -C repo worktree add -q ../tree side
(cd cloned && echo more >>d0/file7 && git commit -q -am more && git push -q origin HEAD:refs/heads/pushed)
git -C repo rev-parse pushed
git -C cloned log -1 --format=%H
git -C repo archive --format=tar main | sha256sum
git -C tree status --porcelain
git -C repo grep -c 'round 5' | wc -l
git -C repo cat-file --batch-all-objects --batch-check | sha256sum
# The index and the reflogs hold inode numbers and times; everything else was compared above or is left to compare.
find . -name .git -prune -exec rm -rf {} +
rm -rf bare.git all.bundle home
