! A matrix over the ranks from Fortran, with `use mpi_f08`: a collective write through a subarray view, small writes
! at explicit offsets behind it, and a nonblocking read.
!   mpif90 fortran_f08.f90 -o fortran_f08 && mpirun -np 4 ./fortran_f08 FILE
program fortran_f08
  use mpi_f08
  implicit none
  integer, parameter :: rows = 50, columns = 24
  type(MPI_File) :: f
  type(MPI_Datatype) :: view
  type(MPI_Status) :: status
  type(MPI_Request) :: request
  integer :: rank, ranks, i, j, got, other, bad, all
  integer(kind=MPI_OFFSET_KIND) :: base, at
  real, asynchronous :: part(rows, columns), row(rows)
  character(len=1000) :: name

  call MPI_Init()
  call MPI_Comm_rank(MPI_COMM_WORLD, rank)
  call MPI_Comm_size(MPI_COMM_WORLD, ranks)
  call get_command_argument(1, name)
  bad = 0
  call MPI_File_open(MPI_COMM_WORLD, trim(name), MPI_MODE_CREATE + MPI_MODE_RDWR, MPI_INFO_NULL, f)
  do j = 1, columns
    do i = 1, rows
      part(i, j) = value(rank, i, j)
    end do
  end do
  call MPI_Type_create_subarray(2, [rows*ranks, columns], [rows, columns], [rows*rank, 0], MPI_ORDER_FORTRAN, &
                                MPI_REAL, view)
  call MPI_Type_commit(view)
  call MPI_File_set_view(f, 0_MPI_OFFSET_KIND, MPI_REAL, view, 'native', MPI_INFO_NULL)
  call MPI_File_write_all(f, part, rows*columns, MPI_REAL, status)
  call MPI_Get_count(status, MPI_REAL, got)
  if (got /= rows*columns) bad = bad + 1
  call MPI_Type_free(view)

  base = int(rows, MPI_OFFSET_KIND)*ranks*columns
  call MPI_File_set_view(f, 0_MPI_OFFSET_KIND, MPI_REAL, MPI_REAL, 'native', MPI_INFO_NULL)
  do j = 1, columns
    at = base + (int(j - 1, MPI_OFFSET_KIND)*ranks + rank)*rows
    call MPI_File_write_at(f, at, part(:, j), rows, MPI_REAL, status)
    call MPI_Get_count(status, MPI_REAL, got)
    if (got /= rows) bad = bad + 1
  end do
  call MPI_File_sync(f)
  call MPI_Barrier(MPI_COMM_WORLD)
  call MPI_File_sync(f)

  other = mod(rank + 1, ranks)
  do j = 1, columns
    at = base + (int(j - 1, MPI_OFFSET_KIND)*ranks + other)*rows
    call MPI_File_iread_at(f, at, row, rows, MPI_REAL, request)
    call MPI_Wait(request, status)
    call MPI_Get_count(status, MPI_REAL, got)
    if (got /= rows) bad = bad + 1
    do i = 1, rows
      if (row(i) /= value(other, i, j)) bad = bad + 1
    end do
    at = int(j - 1, MPI_OFFSET_KIND)*rows*ranks + rows*other
    call MPI_File_read_at(f, at, row, rows, MPI_REAL, MPI_STATUS_IGNORE)
    do i = 1, rows
      if (row(i) /= value(other, i, j)) bad = bad + 1
    end do
  end do
  call MPI_File_close(f)
  call MPI_Allreduce(bad, all, 1, MPI_INTEGER, MPI_SUM, MPI_COMM_WORLD)
  if (rank == 0 .and. all == 0) print '(a)', 'fortran_f08: ok'
  if (rank == 0 .and. all /= 0) print '(a,i0,a)', 'fortran_f08: ', all, ' wrong'
  call MPI_Finalize()
  if (all /= 0) stop 1
contains
  real function value(whose, i, j)
    integer, intent(in) :: whose, i, j
    value = whose*4096 + i*64 + j/32.
  end function
end program
