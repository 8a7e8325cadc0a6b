//! A limit on the size of files, as the program sees it while files of Iris's own grow past it. A test binary of its own:
//! the limit is one for the whole process.

use iris_limits::{beyond_file_size, file_size};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, setrlimit};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

/// Far behind whatever file this test's own output may go to.
const LIMIT: u64 = 1 << 30;

#[test]
fn only_the_operation_itself_goes_past_the_limit() {
    // SAFETY: no handler is involved.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    setrlimit(Resource::Fsize, Rlimit { current: Some(LIMIT), maximum: None }).expect("a lower limit");
    let (own, theirs) = (tempfile::tempfile().expect("a file"), tempfile::tempfile().expect("a file"));
    let done = AtomicBool::new(false);
    let (mut asked, mut refused) = (0u64, 0u64);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for at in 0..2000u64 {
                let offset = LIMIT + at * 100;
                let wrote =
                    beyond_file_size(offset + 100, || rustix::io::pwrite(&own, &[at as u8; 100], offset));
                assert_eq!(wrote, Ok(100));
            }
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            asked += 1;
            assert_eq!(file_size(), Some(LIMIT));
            let e = theirs.write_at(b"past", LIMIT).expect_err("past the limit");
            refused += u64::from(e.raw_os_error() == Some(libc::EFBIG));
        }
    });
    assert!(asked > 0 && asked == refused, "{refused} of {asked} refused");
    let mut bytes = vec![0; 200_000];
    own.read_exact_at(&mut bytes, LIMIT).expect("what was written");
    assert!(bytes.chunks(100).enumerate().all(|(at, chunk)| chunk == [at as u8; 100]));

    // No child is left, and none is seen by a wait that does not ask for such.
    // SAFETY: no status is asked for.
    assert_eq!(unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG | libc::__WALL) }, -1);

    // What the operation says is what the caller hears.
    assert_eq!(beyond_file_size(LIMIT * 2, || Err::<(), _>(Errno::NOSPC)), Err(Errno::NOSPC));

    // A hard limit holds.
    setrlimit(Resource::Fsize, Rlimit { current: Some(LIMIT), maximum: Some(LIMIT) }).expect("a hard limit");
    assert_eq!(beyond_file_size(LIMIT + 1, || rustix::io::pwrite(&own, b"x", LIMIT)), Err(Errno::FBIG));
    assert_eq!(beyond_file_size(LIMIT, || rustix::io::pwrite(&own, b"x", LIMIT - 1)), Ok(1));
}
