# LAMMPS on two ranks of Open MPI: a molecular dynamics run that dumps its state in text, binary and restart files.
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
restart 100 melt.restart
thermo 50
run 250
write_data final.data
END
mpirun.openmpi -np 2 lmp -in in.melt -log none | grep -E '^ +[0-9]+ +[0-9]' | head -n 8
ls
