! Fortran units: formatted and unformatted, sequential, stream and direct access, append, inquire, units left open.
program fortran_io
  implicit none
  character(len=4096) :: dir
  character(len=200) :: line
  integer :: i, n, ios, u, pos
  integer(8) :: bytes
  real(8) :: x, y(1000), z(1000)
  logical :: there
  call get_command_argument(1, dir)

  open (10, file=trim(dir)//'/formatted', status='replace', action='write')
  do i = 1, 500
    write (10, '(i6,1x,f12.5,1x,a)') i, i / 7.0d0, 'text'
  end do
  flush (10)
  inquire (file=trim(dir)//'/formatted', size=bytes, exist=there)
  print *, 'size', bytes, there
  write (10, *) 'list directed', 42, .true.
  close (10)
  open (10, file=trim(dir)//'/formatted', status='old', action='read')
  n = 0
  do
    read (10, '(a)', iostat=ios) line
    if (ios /= 0) exit
    n = n + 1
  end do
  print *, 'lines', n, ios < 0
  rewind (10)
  read (10, *) i, x
  print *, i, x
  backspace (10)
  read (10, *) i, x, line
  print *, i, trim(line)
  close (10)

  do i = 1, 1000
    y(i) = i * 0.5d0
  end do
  open (11, file=trim(dir)//'/unformatted', form='unformatted', status='replace')
  do i = 1, 20
    write (11) i, y(1:i*50)
  end do
  rewind (11)
  do i = 1, 20
    read (11) n, z(1:i*50)
    if (n /= i .or. any(z(1:i*50) /= y(1:i*50))) print *, 'record differs', i
  end do
  backspace (11)
  read (11) n
  print *, 'last', n
  write (11) 'one more'
  close (11)

  open (12, file=trim(dir)//'/direct', access='direct', recl=64, form='unformatted', status='replace')
  do i = 200, 1, -1
    write (12, rec=i) i, y(1:7)
  end do
  do i = 1, 200, 13
    read (12, rec=i) n, x
    if (n /= i) print *, 'direct differs', i, n
  end do
  write (12, rec=300) 300
  read (12, rec=77) n
  print *, 'rec 77', n
  read (12, rec=500, iostat=ios) n
  print *, 'beyond', ios /= 0
  close (12)

  open (13, file=trim(dir)//'/stream', access='stream', form='unformatted', status='replace')
  write (13) y
  write (13, pos=801) -1.0d0
  inquire (13, pos=pos)
  print *, 'pos', pos
  read (13, pos=793) z(1:3)
  print *, z(1:3)
  write (13, pos=100001) 'far'
  inquire (13, size=bytes)
  print *, 'size', bytes
  close (13)

  open (14, file=trim(dir)//'/formatted', position='append', status='old')
  write (14, '(a)') 'appended'
  close (14)
  open (14, file=trim(dir)//'/fstream', access='stream', form='formatted', status='replace')
  write (14, '(a)', advance='no') 'no advance'
  write (14, '(a)') ' now'
  close (14)
  open (14, file=trim(dir)//'/gone', status='replace')
  write (14, *) 'deleted'
  close (14, status='delete')
  inquire (file=trim(dir)//'/gone', exist=there)
  print *, 'gone', .not. there
  open (14, file=trim(dir)//'/formatted', status='new', iostat=ios)
  print *, 'new on old fails', ios /= 0
  open (newunit=u, status='scratch')
  write (u, *) 'scratch'
  rewind (u)
  read (u, '(a)') line
  print *, trim(line)
  close (u)
  call rename(trim(dir)//'/fstream', trim(dir)//'/renamed')

  ! two units left open: the run-time library flushes them after everything else
  open (20, file=trim(dir)//'/left-open')
  write (20, '(a)') 'first line, left in the buffer'
  open (21, file=trim(dir)//'/left-open-unformatted', form='unformatted')
  write (21) y
  write (20, '(a)') 'second line'
end program
