! File per process from Fortran, with `use mpi`: each rank writes through its own file pointer, and afterwards reads
! another rank's file with Fortran's own stream input.
!   mpif90 fortran_module.f90 -o fortran_module && mpirun -np 4 ./fortran_module PREFIX
program fortran_module
  use mpi
  implicit none
  integer, parameter :: numbers = 25, records = 200
  integer :: error, rank, ranks, f, i, got, other, unit, bad, all, status(MPI_STATUS_SIZE)
  integer(kind=MPI_OFFSET_KIND) :: position
  double precision :: record(numbers)
  character(len=1000) :: prefix

  call MPI_Init(error)
  call MPI_Comm_rank(MPI_COMM_WORLD, rank, error)
  call MPI_Comm_size(MPI_COMM_WORLD, ranks, error)
  call get_command_argument(1, prefix)
  bad = 0
  call MPI_File_open(MPI_COMM_SELF, file_of(rank), MPI_MODE_CREATE + MPI_MODE_WRONLY, MPI_INFO_NULL, f, error)
  if (error /= MPI_SUCCESS) call MPI_Abort(MPI_COMM_WORLD, 1, error)
  call MPI_File_set_view(f, 0_MPI_OFFSET_KIND, MPI_DOUBLE_PRECISION, MPI_DOUBLE_PRECISION, 'native', MPI_INFO_NULL, error)
  do i = 1, records
    record = value(rank, i)
    call MPI_File_write(f, record, numbers, MPI_DOUBLE_PRECISION, status, error)
    if (error /= MPI_SUCCESS) call MPI_Abort(MPI_COMM_WORLD, 1, error)
    call MPI_Get_count(status, MPI_DOUBLE_PRECISION, got, error)
    if (got /= numbers) bad = bad + 1
  end do
  call MPI_File_get_position(f, position, error)
  if (position /= int(records, MPI_OFFSET_KIND)*numbers) bad = bad + 1
  ! One record again, at its place.
  record = value(rank, 3)
  call MPI_File_write_at(f, 2_MPI_OFFSET_KIND*numbers, record, numbers, MPI_DOUBLE_PRECISION, MPI_STATUS_IGNORE, error)
  call MPI_File_close(f, error)
  call MPI_Barrier(MPI_COMM_WORLD, error)

  other = mod(rank + 1, ranks)
  open (newunit=unit, file=file_of(other), access='stream', form='unformatted', status='old', action='read')
  do i = 1, records
    read (unit) record
    if (any(record /= value(other, i))) bad = bad + 1
  end do
  close (unit)
  call MPI_Allreduce(bad, all, 1, MPI_INTEGER, MPI_SUM, MPI_COMM_WORLD, error)
  if (rank == 0 .and. all == 0) print '(a)', 'fortran_module: ok'
  if (rank == 0 .and. all /= 0) print '(a,i0,a)', 'fortran_module: ', all, ' wrong'
  call MPI_Finalize(error)
  if (all /= 0) stop 1
contains
  function file_of(whose) result(name)
    integer, intent(in) :: whose
    character(len=:), allocatable :: name
    character(len=8) :: number
    write (number, '(".",i4.4)') whose
    name = trim(prefix)//trim(number)
  end function
  function value(whose, number) result(values)
    integer, intent(in) :: whose, number
    double precision :: values(numbers)
    integer :: j
    values = [(whose*1d4 + number + j/64d0, j=1, numbers)]
  end function
end program
