! One shared file from Fortran, with mpif.h: records of a rank's own at explicit offsets, then a collective read of
! the neighbour's. Statuses are asked and ignored in turn.
!   mpif90 fortran_mpif.f90 -o fortran_mpif && mpirun -np 4 ./fortran_mpif FILE
program fortran_mpif
  implicit none
  include 'mpif.h'
  integer, parameter :: numbers = 40, records = 100
  integer :: error, rank, ranks, f, i, got, other, status(MPI_STATUS_SIZE)
  integer :: bad, all
  integer(kind=MPI_OFFSET_KIND) :: at, size
  integer :: record(numbers)
  character(len=1000) :: name

  call MPI_Init(error)
  call MPI_Comm_rank(MPI_COMM_WORLD, rank, error)
  call MPI_Comm_size(MPI_COMM_WORLD, ranks, error)
  call get_command_argument(1, name)
  bad = 0
  call MPI_File_open(MPI_COMM_WORLD, trim(name), ior(MPI_MODE_CREATE, MPI_MODE_RDWR), MPI_INFO_NULL, f, error)
  call check(error)
  do i = 0, records - 1
    call fill(rank, i)
    at = (int(i, MPI_OFFSET_KIND)*ranks + rank)*numbers*4
    if (mod(i, 2) == 0) then
      call MPI_File_write_at(f, at, record, numbers, MPI_INTEGER, MPI_STATUS_IGNORE, error)
    else
      call MPI_File_write_at(f, at, record, numbers, MPI_INTEGER, status, error)
      call MPI_Get_count(status, MPI_INTEGER, got, error)
      if (got /= numbers) bad = bad + 1
    end if
    call check(error)
  end do
  call MPI_File_sync(f, error)
  call MPI_Barrier(MPI_COMM_WORLD, error)
  call MPI_File_sync(f, error)
  other = mod(rank + 1, ranks)
  do i = 0, records - 1
    at = (int(i, MPI_OFFSET_KIND)*ranks + other)*numbers*4
    if (mod(i, 25) /= 0) then
      call MPI_File_read_at(f, at, record, numbers, MPI_INTEGER, status, error)
    else
      call MPI_File_read_at_all(f, at, record, numbers, MPI_INTEGER, status, error)
    end if
    call check(error)
    call MPI_Get_count(status, MPI_INTEGER, got, error)
    if (got /= numbers) bad = bad + 1
    call verify(other, i)
  end do
  call MPI_File_get_size(f, size, error)
  if (size /= int(records, MPI_OFFSET_KIND)*ranks*numbers*4) bad = bad + 1
  call MPI_File_close(f, error)
  call check(error)
  call MPI_Allreduce(bad, all, 1, MPI_INTEGER, MPI_SUM, MPI_COMM_WORLD, error)
  if (rank == 0 .and. all == 0) print '(a)', 'fortran_mpif: ok'
  if (rank == 0 .and. all /= 0) print '(a,i0,a)', 'fortran_mpif: ', all, ' wrong'
  call MPI_Finalize(error)
  if (all /= 0) stop 1
contains
  integer function value(whose, number, i)
    integer, intent(in) :: whose, number, i
    value = ieor(whose*100003 + number*331, i*17)
  end function
  subroutine fill(whose, number)
    integer, intent(in) :: whose, number
    integer :: j
    do j = 1, numbers
      record(j) = value(whose, number, j)
    end do
  end subroutine
  subroutine verify(whose, number)
    integer, intent(in) :: whose, number
    integer :: j
    do j = 1, numbers
      if (record(j) /= value(whose, number, j)) bad = bad + 1
    end do
  end subroutine
  subroutine check(code)
    integer, intent(in) :: code
    integer :: ignored
    if (code /= MPI_SUCCESS) call MPI_Abort(MPI_COMM_WORLD, 1, ignored)
  end subroutine
end program
