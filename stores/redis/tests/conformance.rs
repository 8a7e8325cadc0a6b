//! What every store promises, on real servers: Redis over a unix socket, TCP, TLS and RESP2, a cluster of three, and
//! memcached. `scripts/test` starts them and names them in the environment.

mod support;

use iris_store::conformance::Subject;
use support::{named, open};

/// A test module for the address that `$address` gives.
macro_rules! on {
    ($module:ident, $address:expr) => {
        mod $module {
            use super::*;
            fn subject() -> Subject<'static> {
                let address: String = $address;
                let mut subject = Subject::new(move || open(&address));
                // Copied or sent from where they lie; the first room for answers, twice that, and what is sent ahead.
                subject.boundaries = vec![512, 4096, 64 << 10, 128 << 10, 512 << 10];
                subject
            }
            iris_store::conformance_tests!(subject());
        }
    };
}

on!(unix, format!("redis+unix://{}", named("REDIS_SOCKET")));
on!(tcp, format!("{}?resp=2&connections=1", named("REDIS_URL")));
on!(numbered, format!("redis+unix://{}?db=5", named("REDIS_SOCKET")));
on!(tls, format!("{}?ca={}", named("REDIS_TLS_URL"), named("REDIS_CA")));
on!(cluster, format!("redis://{}", named("REDIS_CLUSTER")));
on!(memcached, format!("memcached://{}?max_object=8388000", named("MEMCACHED_SERVER")));
on!(memcached_unix, format!("memcached+unix://{}?max_object=8388000", named("MEMCACHED_SOCKET")));
