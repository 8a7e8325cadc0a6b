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
            rename renameat renameat2 chdir fchdir chroot
            execve execvpe execveat fexecve execv execvp _exit _Exit _Fork clone __clone daemon login_tty forkpty
            fopen fopen64 _IO_fopen fdopen _IO_fdopen freopen freopen64 fclose _IO_fclose fread _IO_fread fread_unlocked
            __fread_chk __fread_unlocked_chk _IO_sgetn fseek fseeko fseeko64 ftell ftello ftello64 _IO_ftell
            vdprintf __vdprintf_chk
            fwide fgetwc getwc fgetwc_unlocked getwc_unlocked getwchar getwchar_unlocked fputwc putwc fputwc_unlocked
            putwc_unlocked putwchar putwchar_unlocked ungetwc fgetws fgetws_unlocked __fgetws_chk
            __fgetws_unlocked_chk fputws fputws_unlocked vfwprintf __vfwprintf_chk vwprintf __vwprintf_chk
            vfwscanf __isoc99_vfwscanf __isoc23_vfwscanf vwscanf __isoc99_vwscanf __isoc23_vwscanf
            __wuflow __wunderflow __woverflow
            posix_spawn posix_spawnp system popen _IO_popen wordexp syscall
        }
    };
}
pub(crate) use for_each_hook;
