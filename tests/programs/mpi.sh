# MPI-IO with MPICH: four ranks on one shared file; every way of writing, read back by another rank.
# needs: mpich libmpich-dev gcc libc6-dev
# deadline: 120
set -eu
mpicc.mpich -O1 -o "$PWD/shared_file" "$ROOT/mpi-examples/shared_file.c"
mpirun.mpich -np 4 ./shared_file one.dat 500
mpirun.mpich -np 1 ./shared_file alone.dat 500
mpirun.mpich -np 3 ./shared_file one.dat 200
rm shared_file
