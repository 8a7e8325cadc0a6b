//! What the tests of this crate share: the library, loaded as Iris loads it, and the servers that the environment names.
#![allow(dead_code, reason = "each test program uses its own part")]

pub mod proxy;

use iris_store::conformance::{Keys, Subject};
use iris_store::{Address, ENTRY, Entry, Host, Outcome, Plugin, Request, Result, STAMP, Store};
use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

fn adopt_thread() {}

fn log(level: u8, line: &str) {
    eprintln!("[{level}] {line}");
}

pub const HOST: Host = Host { adopt_thread, log };

/// The library beside the test program, or beside the folder of the examples.
pub fn library() -> std::path::PathBuf {
    const NAME: &str = "libiris_store_s3.so";
    let folder = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    if folder.ends_with("examples") { folder.with_file_name(NAME) } else { folder.join(NAME) }
}

/// The store's library, through its door.
pub fn plugin() -> &'static Plugin {
    static PLUGIN: OnceLock<&'static Plugin> = OnceLock::new();
    PLUGIN.get_or_init(|| {
        let path = library();
        let name = CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: the library runs no constructors but those of its languages' runtimes.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!handle.is_null(), "{}: {}", path.display(), unsafe {
            // SAFETY: after a failed dlopen this is a string.
            CStr::from_ptr(libc::dlerror()).to_string_lossy().into_owned()
        });
        let symbol = CString::new(ENTRY).unwrap();
        // SAFETY: the handle is a loaded library's.
        let entry = unsafe { libc::dlsym(handle, symbol.as_ptr()) };
        assert!(!entry.is_null(), "{ENTRY} is not exported");
        // SAFETY: the symbol is of this type, which the stamp vouches for.
        let plugin = unsafe { std::mem::transmute::<*mut libc::c_void, Entry>(entry) }();
        assert_eq!(plugin.stamp, STAMP);
        plugin
    })
}

/// Opens a store as Iris does it: on a thread with a table of descriptors of its own, empty but for the first three.
pub fn open(address: &str) -> Result<Arc<dyn Store>> {
    let address = Address::parse(address).unwrap();
    let opened = std::thread::scope(|scope| {
        let own = scope.spawn(|| {
            // SAFETY: three numbers; this thread, which owns no descriptor yet, gets a table of its own.
            let status =
                unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_UNSHARE) };
            assert_eq!(status, 0, "close_range: {}", std::io::Error::last_os_error());
            (plugin().open)(&address, HOST)
        });
        own.join()
    });
    opened.unwrap()
}

/// A real server.
#[derive(Clone)]
pub struct Server {
    pub name: &'static str,
    pub endpoint: String,
    pub bucket: String,
    pub key: String,
    pub secret: String,
    /// A Python with boto3.
    pub python: String,
}

/// The server of that name: IRIS_TEST_S3_MOTO or IRIS_TEST_S3_CEPH hold "endpoint bucket key secret".
pub fn server(name: &'static str) -> Server {
    let variable = format!("IRIS_TEST_S3_{}", name.to_uppercase());
    let how = format!(
        "{variable} must hold \"endpoint bucket access-key secret-key\" of a server:\n  \
         eval \"$(scripts/servers/{name} up DIR)\"; export {variable}=\"$S3_ENDPOINT $S3_BUCKET $S3_ACCESS_KEY $S3_SECRET_KEY\""
    );
    let text = std::env::var(&variable).unwrap_or_else(|_| panic!("{how}"));
    let [endpoint, bucket, key, secret] = text.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{how}\nnot \"{text}\"")
    };
    Server {
        name,
        endpoint: endpoint.into(),
        bucket: bucket.into(),
        key: key.into(),
        secret: secret.into(),
        python: std::env::var("IRIS_TEST_S3_PYTHON").unwrap_or_else(|_| {
            panic!("IRIS_TEST_S3_PYTHON must be a Python that has boto3: S3_PYTHON of scripts/servers/moto")
        }),
    }
}

impl Server {
    /// The address of a prefix, through another endpoint.
    pub fn through(&self, endpoint: &str, prefix: &str, options: &str) -> String {
        let Server { bucket, key, secret, .. } = self;
        format!("s3://{key}:{secret}@{bucket}/{prefix}?endpoint={endpoint}&{options}")
    }

    /// A store below a prefix.
    pub fn open(&self, prefix: &str, options: &str) -> Arc<dyn Store> {
        open(&self.through(&self.endpoint, prefix, options)).unwrap()
    }

    /// Runs Python with `s3` a client of boto3 and `bucket` the bucket; gives what it prints.
    pub fn boto(&self, code: &str, args: &[&str]) -> String {
        let head = format!(
            "import sys, boto3\nfrom botocore.config import Config\n\
             s3 = boto3.client('s3', endpoint_url='{}', aws_access_key_id='{}', aws_secret_access_key='{}', \
             region_name='us-east-1', config=Config(proxies={{}}, signature_version='s3v4', \
             s3={{'addressing_style': 'path'}}))\nbucket = '{}'\n",
            self.endpoint, self.key, self.secret, self.bucket
        );
        let output = std::process::Command::new("timeout")
            .args(["120", &self.python, "-c", &format!("{head}{code}")])
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "boto3: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// A prefix that no other test has.
pub fn fresh(what: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_micros();
    format!("{what}-{}-{now}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A put, a get and so on, in fewer words.
pub trait Short {
    fn put(&self, key: &str, bytes: &[u8]) -> Result<Option<String>>;
    fn get(&self, key: &str, offset: u64, len: usize) -> Result<Vec<u8>>;
}

impl Short for Arc<dyn Store> {
    fn put(&self, key: &str, bytes: &[u8]) -> Result<Option<String>> {
        let request =
            Request::Put { key: key.as_bytes(), bytes, condition: iris_store::Condition::Always, meta: &[] };
        match self.one(request)? {
            Outcome::Put(tag) => Ok(tag),
            other => panic!("{other:?}"),
        }
    }

    fn get(&self, key: &str, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut into = vec![0; len];
        match self.one(Request::Get { key: key.as_bytes(), offset, into: &mut into })? {
            Outcome::Read(n) => {
                into.truncate(n);
                Ok(into)
            }
            other => panic!("{other:?}"),
        }
    }
}

/// What a call gave, and how long it took.
pub fn timed<T>(call: impl FnOnce() -> T) -> (T, Duration) {
    let from = Instant::now();
    let result = call();
    (result, from.elapsed())
}

/// A store of this server, for the suite that every store passes.
pub fn subject(name: &'static str) -> Subject<'static> {
    let server = server(name);
    let mut subject = Subject::new(move || {
        let store = server.open("", "conditional=yes&timeout=20");
        store.check().unwrap();
        store
    });
    subject.keys = Keys::Text;
    subject.boundaries = vec![4096, 65536];
    subject
}
