//! What is hooked, and why the rest of glibc's calls around files and processes is not. The hooks' own pointers are
//! made from this list (real.rs), and tests/symbols.rs holds it against what the system's glibc exports: a function
//! that is in neither half fails the test.

/// Calls the macro `$with` with the name of every hook that has a function behind it.
#[allow(unused_macros)]
macro_rules! for_each_hook {
    ($with:ident) => {
        $with! {
            open open64 __open __open64 openat openat64 __open_2 __open64_2 __openat_2 __openat64_2
            creat creat64 mkstemp mkstemp64 mkostemp mkostemp64 mkstemps mkstemps64 mkostemps mkostemps64
            open_by_handle_at
            close __close close_range closefrom dup dup2 __dup2 dup3 fcntl fcntl64 __fcntl flock lockf lockf64 ioctl
            read __read __read_chk pread pread64 __pread64 __pread_chk __pread64_chk readv preadv preadv64 preadv2
            preadv64v2 write __write pwrite pwrite64 __pwrite64 writev pwritev pwritev64 pwritev2 pwritev64v2
            lseek lseek64 llseek __lseek
            fstat fstat64 __fxstat __fxstat64 stat stat64 lstat lstat64 __xstat __xstat64 __lxstat __lxstat64
            fstatat fstatat64 __fxstatat __fxstatat64 statx fsync fdatasync sync_file_range syncfs sync
            ftruncate ftruncate64 truncate truncate64 fallocate fallocate64 posix_fallocate posix_fallocate64
            futimens futimes utimensat futimesat utimes lutimes utime fchmod chmod lchmod fchmodat
            fchown chown lchown fchownat fsetxattr setxattr lsetxattr fremovexattr removexattr lremovexattr
            mmap mmap64 sendfile sendfile64 copy_file_range splice aio_read aio_read64 aio_write aio_write64
            aio_fsync aio_fsync64 lio_listio lio_listio64 sendmsg sendmmsg
            rename renameat renameat2 link linkat unlink unlinkat remove setrlimit setrlimit64 prlimit prlimit64 ftw ftw64 nftw nftw64 fts_open fts64_open
            execve execvpe execveat fexecve execv execvp _exit _Exit _Fork clone __clone daemon login_tty forkpty
            fopen fopen64 _IO_fopen fdopen _IO_fdopen freopen freopen64 fclose _IO_fclose fread _IO_fread fread_unlocked
            __fread_chk __fread_unlocked_chk _IO_sgetn fwrite _IO_fwrite fwrite_unlocked fseek fseeko fseeko64 ftell ftello ftello64 _IO_ftell
            vdprintf __vdprintf_chk
            fwide fgetwc getwc fgetwc_unlocked getwc_unlocked getwchar getwchar_unlocked fputwc putwc fputwc_unlocked
            putwc_unlocked putwchar putwchar_unlocked ungetwc fgetws fgetws_unlocked __fgetws_chk
            __fgetws_unlocked_chk fputws fputws_unlocked vfwprintf __vfwprintf_chk vwprintf __vwprintf_chk
            vfwscanf __isoc99_vfwscanf __isoc23_vfwscanf vwscanf __isoc99_vwscanf __isoc23_vwscanf
            __wuflow __wunderflow __woverflow
            posix_spawn posix_spawnp system popen _IO_popen wordexp syscall
            rmdir mkdir mkdirat mkfifo mkfifoat mknod mknodat __xmknod __xmknodat symlink symlinkat readlink readlinkat
            __readlink_chk __readlinkat_chk realpath __realpath_chk canonicalize_file_name mktemp mkdtemp tempnam
            access eaccess euidaccess faccessat pathconf statfs statfs64 __statfs statvfs statvfs64
            getxattr lgetxattr listxattr llistxattr ftok name_to_handle_at inotify_add_watch fanotify_mark
            setmntent __setmntent mount umount umount2 opendir scandir scandir64 scandirat scandirat64 glob glob64
            fts_read fts64_read fts_children fts64_children fts_close fts64_close
            chdir fchdir chroot unshare getcwd __getcwd_chk getwd __getwd_chk get_current_dir_name
            bind connect __connect sendto getsockname getpeername accept accept4 recvfrom dlopen dlmopen
            posix_spawn_file_actions_addopen posix_spawn_file_actions_addchdir_np
            pidfd_getfd sigaction __sigaction signal ssignal bsd_signal sigset sysv_signal __sysv_signal
        }
    };
}

/// Hooks that need no function behind them: variadic ones, which call their twin with a list of arguments, and
/// those that are made of a system call.
#[allow(dead_code)]
pub const ALONE: &[&str] = &[
    "dprintf",
    "__dprintf_chk",
    "fwprintf",
    "__fwprintf_chk",
    "wprintf",
    "__wprintf_chk",
    "fwscanf",
    "wscanf",
    "__isoc99_fwscanf",
    "__isoc99_wscanf",
    "__isoc23_fwscanf",
    "__isoc23_wscanf",
    "execl",
    "execlp",
    "execle",
    "vfork",
    "__vfork",
];

/// Functions of other libraries that are hooked: libaio's, liburing's and those of MPI.
#[allow(dead_code)]
pub const FOREIGN: &[&str] = &[
    "io_submit",
    "io_uring_setup",
    "io_uring_queue_init",
    "io_uring_queue_init_params",
    "io_uring_queue_init_mem",
    "MPI_File_open",
    "PMPI_File_open",
    "MPI_File_close",
    "PMPI_File_close",
    "MPI_File_set_view",
    "PMPI_File_set_view",
    "MPI_File_set_atomicity",
    "PMPI_File_set_atomicity",
    "MPI_File_write_at",
    "PMPI_File_write_at",
    "MPI_File_read_at",
    "PMPI_File_read_at",
    "MPI_File_write_at_c",
    "PMPI_File_write_at_c",
    "MPI_File_read_at_c",
    "PMPI_File_read_at_c",
    "MPI_Finalize",
    "PMPI_Finalize",
];

/// The library's own functions; see include/iris.h.
#[allow(dead_code)]
pub const OWN: &[&str] = &["iris_version", "iris_settle"];

/// Not hooked, and why not.
#[allow(dead_code)]
pub const LEFT: &[(&str, &str)] = &[
    (
        "Works on a descriptor, on the text of a name, or on nothing that is a file.",
        "tmpnam tmpnam_r umask fpathconf dirname glob_pattern_p globfree globfree64 revoke",
    ),
    (
        "Reads directories, which are the kernel's own.",
        "fdopendir closedir readdir readdir64 readdir_r readdir64_r rewinddir seekdir telldir dirfd getdents64 \
         getdirentries getdirentries64 alphasort alphasort64 versionsort \
         versionsort64",
    ),
    ("Leaves a note for a walk that fts_open began.", "fts_set fts64_set"),
    (
        "Tells about the file system, which is the anchor's.",
        "fstatfs fstatfs64 fstatvfs fstatvfs64 ustat getfsent getfsspec \
         getfsfile setfsent endfsent",
    ),
    ("Reads extended attributes, which are never staged.", "fgetxattr flistxattr"),
    (
        "Advice to the page cache: nothing that a program can observe.",
        "posix_fadvise posix_fadvise64 readahead",
    ),
    (
        "Works on memory. A mapped file left the overlay when it was mapped.",
        "munmap __munmap mremap msync mprotect madvise posix_madvise mlock mlock2 munlock mlockall munlockall \
         remap_file_pages mincore process_vm_readv process_vm_writev pkey_mprotect process_madvise process_mrelease \
         brk sbrk",
    ),
    ("Moves bytes between pipes and memory only.", "tee vmsplice pipe pipe2 __pipe"),
    (
        "Makes a descriptor that is not on a file by name, or asks about one; the engine does not know the number \
         and lets the kernel answer.",
        "memfd_create memfd_secret eventfd eventfd_read eventfd_write timerfd_create timerfd_settime \
         timerfd_gettime signalfd epoll_create epoll_create1 inotify_init inotify_init1 fanotify_init pidfd_open \
         pidfd_send_signal isatty ttyname ttyname_r __ttyname_r_chk isfdtype getdtablesize shm_open \
         shm_unlink sem_open sem_close sem_unlink mq_open __mq_open_2 mq_close mq_unlink mq_setattr mq_getattr \
         mq_notify mq_send mq_receive mq_timedsend mq_timedreceive open_tree fsopen fsconfig fsmount fspick \
         move_mount mount_setattr pivot_root perf_event_open __fdelt_chk __fdelt_warn",
    ),
    (
        "Sockets. A descriptor that arrives over one has left the overlay where it was sent.",
        "socket socketpair listen shutdown send __send recv \
         recvmsg recvmmsg __recv_chk __recvfrom_chk getsockopt setsockopt sockatmark \
         putmsg putpmsg getmsg getpmsg fattach fdetach isastream",
    ),
    (
        "Waits for readiness; a regular file is always ready.",
        "poll __poll ppoll __poll_chk __ppoll_chk select pselect epoll_ctl epoll_wait epoll_pwait epoll_pwait2 \
         inotify_rm_watch",
    ),
    (
        "Terminals.",
        "openpty posix_openpt getpt grantpt unlockpt ptsname ptsname_r __ptsname_r_chk tcdrain tcflow tcflush \
         tcgetattr tcgetpgrp tcgetsid tcsendbreak tcsetattr tcsetpgrp gtty stty getpass ctermid cuserid \
         vhangup ttyslot getttyent getttynam setttyent endttyent",
    ),
    (
        "Asynchronous I/O in progress: the request was seen when it was made.",
        "aio_cancel aio_cancel64 aio_error aio_error64 aio_init aio_return aio_return64 aio_suspend aio_suspend64",
    ),
    (
        "fork runs the handlers that Iris registers with pthread_atfork first of all.",
        "fork __fork __libc_fork __register_atfork pthread_atfork",
    ),
    (
        "Makes a thread, or waits for or changes a process; no descriptor is touched.",
        "setns wait wait3 wait4 waitid waitpid kill killpg abort getpid setsid setpgid __libc_current_sigrtmin \
         posix_spawnattr_init posix_spawnattr_destroy posix_spawnattr_getflags posix_spawnattr_getpgroup \
         posix_spawnattr_getschedparam posix_spawnattr_getschedpolicy posix_spawnattr_getsigdefault \
         posix_spawnattr_getsigmask posix_spawnattr_setflags posix_spawnattr_setpgroup posix_spawnattr_setschedparam \
         posix_spawnattr_setschedpolicy posix_spawnattr_setsigdefault posix_spawnattr_setsigmask",
    ),
    (
        "Only collects what a later posix_spawn will do, and that hook reads it.",
        "posix_spawn_file_actions_init posix_spawn_file_actions_destroy \
         posix_spawn_file_actions_adddup2 posix_spawn_file_actions_addclose \
         posix_spawn_file_actions_addfchdir_np posix_spawn_file_actions_addclosefrom_np \
         posix_spawn_file_actions_addtcsetpgrp_np",
    ),
    (
        "Runs the handlers that Iris registered, and then ends the process.",
        "exit quick_exit atexit on_exit at_quick_exit __cxa_atexit __cxa_at_quick_exit __cxa_finalize \
         __cxa_thread_atexit_impl err errx verr verrx error error_at_line __assert __assert_fail \
         __assert_perror_fail pthread_exit thrd_exit svc_exit argp_error argp_failure argp_state_help argp_usage",
    ),
    (
        "Works on a stream, and a stream of ours runs glibc's own code over our read, write, seek and close.",
        "fputc fputc_unlocked putc putc_unlocked _IO_putc fputs fputs_unlocked \
         _IO_fputs puts _IO_puts putchar putchar_unlocked putw fgetc fgetc_unlocked getc getc_unlocked _IO_getc \
         getchar getchar_unlocked getw fgets fgets_unlocked __fgets_chk __fgets_unlocked_chk _IO_fgets gets \
         _IO_gets __gets_chk getline getdelim __getdelim _IO_getline _IO_getline_info ungetc _IO_ungetc fprintf \
         _IO_fprintf printf _IO_printf vfprintf _IO_vfprintf vprintf __fprintf_chk __printf_chk __vfprintf_chk \
         __vprintf_chk fscanf scanf vfscanf __vfscanf _IO_vfscanf vscanf __isoc99_fscanf __isoc99_scanf \
         __isoc99_vfscanf __isoc99_vscanf __isoc23_fscanf __isoc23_scanf __isoc23_vfscanf __isoc23_vscanf \
         fflush fflush_unlocked _IO_fflush _IO_flush_all \
         _IO_flush_all_linebuffered _flushlbf fgetpos fgetpos64 _IO_fgetpos _IO_fgetpos64 fsetpos fsetpos64 \
         _IO_fsetpos _IO_fsetpos64 rewind setbuf setbuffer _IO_setbuffer setlinebuf setvbuf _IO_setvbuf feof \
         feof_unlocked _IO_feof ferror ferror_unlocked _IO_ferror clearerr clearerr_unlocked fileno \
         fileno_unlocked flockfile ftrylockfile funlockfile _IO_flockfile _IO_ftrylockfile _IO_funlockfile \
         __fbufsize __fpending __fpurge __freadable __freading __fwritable __fwriting __flbf __fsetlocking \
         __overflow __underflow __uflow fcloseall _IO_peekc_locked perror warn warnx vwarn vwarnx psignal \
         psiginfo herror malloc_info malloc_stats putpwent putgrent putspent putsgent addmntent getmntent \
         getmntent_r __getmntent_r fgetpwent fgetpwent_r fgetgrent fgetgrent_r fgetspent fgetspent_r fgetsgent \
         fgetsgent_r xdrstdio_create hasmntopt fputgrent",
    ),
    (
        "Makes a stream that is not on a file by name: on memory, on the program's own functions, or on a fresh \
         unnamed file, for which nothing can be staged.",
        "fmemopen open_memstream open_wmemstream fopencookie tmpfile tmpfile64",
    ),
    (
        "The inner parts of glibc's streams, kept for programs of another age; they act on the stream they get.",
        "_IO_adjust_column _IO_adjust_wcolumn _IO_default_doallocate _IO_default_finish _IO_default_pbackfail \
         _IO_default_uflow _IO_default_xsgetn _IO_default_xsputn _IO_do_write _IO_doallocbuf _IO_file_attach \
         _IO_file_close _IO_file_close_it _IO_file_doallocate _IO_file_finish _IO_file_fopen _IO_file_init \
         _IO_file_open _IO_file_overflow _IO_file_read _IO_file_seek _IO_file_seekoff _IO_file_setbuf \
         _IO_file_stat _IO_file_sync _IO_file_underflow _IO_file_write _IO_file_xsputn _IO_free_backup_area \
         _IO_free_wbackup_area _IO_init _IO_init_marker _IO_init_wmarker _IO_iter_begin _IO_iter_end _IO_iter_file \
         _IO_iter_next _IO_least_wmarker _IO_link_in _IO_list_lock _IO_list_resetlock _IO_list_unlock \
         _IO_marker_delta _IO_marker_difference _IO_padn _IO_proc_close _IO_proc_open _IO_remove_marker \
         _IO_seekmark _IO_seekoff _IO_seekpos _IO_seekwmark _IO_setb _IO_sprintf _IO_sputbackc _IO_sputbackwc \
         _IO_sscanf _IO_str_init_readonly _IO_str_init_static _IO_str_overflow _IO_str_pbackfail _IO_str_seekoff \
         _IO_str_underflow _IO_sungetc _IO_sungetwc _IO_switch_to_get_mode _IO_switch_to_main_wget_area \
         _IO_switch_to_wbackup_area _IO_switch_to_wget_mode _IO_un_link _IO_unsave_markers _IO_unsave_wmarkers \
         _IO_vsprintf _IO_wdefault_doallocate _IO_wdefault_finish _IO_wdefault_pbackfail _IO_wdefault_uflow \
         _IO_wdefault_xsgetn _IO_wdefault_xsputn _IO_wdo_write _IO_wdoallocbuf _IO_wfile_overflow \
         _IO_wfile_seekoff _IO_wfile_sync _IO_wfile_underflow _IO_wfile_xsputn _IO_wmarker_delta _IO_wsetb",
    ),
    (
        "Formats or reads text in memory.",
        "sprintf __sprintf_chk snprintf __snprintf_chk vsprintf __vsprintf_chk vsnprintf __vsnprintf \
         __vsnprintf_chk asprintf __asprintf __asprintf_chk vasprintf __vasprintf_chk swprintf __swprintf_chk \
         vswprintf __vswprintf_chk sscanf vsscanf __vsscanf swscanf vswscanf __isoc99_sscanf __isoc99_vsscanf \
         __isoc99_swscanf __isoc99_vswscanf __isoc23_sscanf __isoc23_vsscanf __isoc23_swscanf __isoc23_vswscanf \
         obstack_printf obstack_vprintf __obstack_printf_chk __obstack_vprintf_chk printf_size printf_size_info \
         __printf_fp parse_printf_format register_printf_function register_printf_modifier \
         register_printf_specifier register_printf_type",
    ),
    (
        "The program closes what pclose gives back, a pipe; the shell behind it was seen to when it was started.",
        "pclose wordfree",
    ),
    (
        "Reads or writes the system's own tables and logs by fixed names.",
        "endmntent __endmntent openlog syslog vsyslog __syslog_chk __vsyslog_chk closelog \
         setlogmask updwtmp updwtmpx utmpname utmpxname pututline pututxline getutent setutent endutent login \
         logout logwtmp getlogin getlogin_r __getlogin_r_chk setlogin lckpwdf ulckpwdf catopen catgets catclose \
         getdate getdate_r getusershell setusershell endusershell acct swapon swapoff quotactl nfsservctl bdflush \
         uselib init_module delete_module rexec rexec_af rcmd rcmd_af getloadavg",
    ),
    (
        "Writes a text for people to a descriptor, which is stderr in every use that is known.",
        "backtrace_symbols_fd",
    ),
];

/// The names of every hook that has a function behind it.
#[allow(unused_macros)]
macro_rules! names_of_hooks {
    ($($name:ident)*) => {
        /// Every hook that has a function behind it.
        #[allow(dead_code)]
        pub const HOOKED: &[&str] = &[$(stringify!($name)),*];
    };
}
for_each_hook!(names_of_hooks);

#[allow(unused_imports)]
pub(crate) use for_each_hook;
