# PostMark: the load of a mail server, small files made, read, appended to and deleted.
# needs: postmark
# deadline: 120
set -eu
mkdir mail
postmark <<END | grep -vE 'per second|seconds|Time:|bytes/|megabytes .*per' | sed 's/ (.*per second)//'
set location $PWD/mail
set number 400
set transactions 2000
set size 500 65536
set seed 42
run
quit
END
ls mail | wc -l
