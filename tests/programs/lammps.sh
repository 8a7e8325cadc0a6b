# LAMMPS on two and on four ranks of Open MPI: a molecular dynamics run that dumps its state in text, binary and restart
# files, also through MPI-IO; and a restart.
# needs: lammps openmpi-bin
# deadline: 300
set -eu
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 OMP_NUM_THREADS=1
cat >in.melt <<'END'
# 3d Lennard-Jones melt
units lj
atom_style atomic
lattice fcc 0.8442
region box block 0 10 0 10 0 10
create_box 1 box
create_atoms 1 box
mass 1 1.0
velocity all create 3.0 87287 loop geom
pair_style lj/cut 2.5
pair_coeff 1 1 1.0 1.0 2.5
neighbor 0.3 bin
neigh_modify every 20 delay 0 check no
fix 1 all nve
dump d1 all custom 10 dump.lammpstrj id type x y z vx vy vz
dump_modify d1 sort id
dump d2 all custom 50 dump.*.txt id type x y z
dump d3 all custom 50 dump.bin id type x y z
dump d4 all xyz 25 dump.xyz
dump d5 all custom/mpiio 50 dump.mpiio id type x y z
dump d6 all atom/mpiio 100 dump.*.mpiio
restart 100 melt.restart
restart 125 melt.mpiio.restart.1 melt.mpiio.restart.2
thermo 50
run 250
write_data final.data
END
cat >in.again <<'END'
read_restart melt.mpiio.restart.2
pair_style lj/cut 2.5
pair_coeff 1 1 1.0 1.0 2.5
neighbor 0.3 bin
fix 1 all nve
dump d1 all custom 5 again.dump id type x y z vx vy vz
dump_modify d1 sort id
run 10
write_restart again.mpiio
END
lmp() { mpirun.openmpi -np "$1" lmp -in "$2" -log none | grep -E '^ +[0-9]+ +[0-9]' | head -n 8; }
mkdir two four
for n in two:2 four:4; do
  cp in.* "${n%:*}"
  cd "${n%:*}"
  lmp "${n#*:}" in.melt
  lmp "${n#*:}" in.again
  cd ..
done
ls two four
