//! What an `s3://bucket/prefix?…` address asks for: parsed once, checked, with the defaults. Owns the list of options;
//! knows neither the SDK nor the network.

use crate::codec;
use iris_store::{Address, Kind, OptionSpec, StoreError};
use std::time::Duration;

/// Bytes below which a part of a multipart upload is refused, unless it is the last.
pub const LEAST_PART: u64 = 5 << 20;
/// Bytes above which no single request puts or copies.
pub const MOST_PUT: u64 = 5 << 30;
/// Bytes of the longest key.
pub const MOST_KEY: usize = 1024;

/// The options that an address may carry.
pub const OPTIONS: &[OptionSpec] = &[
    plain(
        "endpoint",
        "URL of the server, as http://host:port; default: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS",
    ),
    plain("region", "region that requests are signed for; default: AWS_REGION, the profile's, us-east-1"),
    plain(
        "style",
        "where the bucket stands in URLs: path | virtual; default: virtual on AWS, path elsewhere",
    ),
    plain("profile", "profile of the shared configuration files; default: AWS_PROFILE, default"),
    plain("anonymous", "yes: requests are not signed; default: no"),
    plain(
        "imds",
        "credentials of the machine's metadata service: auto | yes | no; default: auto, only on AWS",
    ),
    plain("ca", "PEM file of certificates to trust besides the system's"),
    plain("part_size", "bytes of a part, in uploads and in long reads, as 8MiB (the default; 5MiB to 1GiB)"),
    plain("connections", "requests at work at a time; default: 16"),
    plain("checksum", "of what is put: crc64nvme | crc32 | crc32c | md5 | none; default: crc64nvme"),
    plain("sign", "whether payloads are signed (SHA-256): auto | yes | no; default: auto, only without TLS"),
    plain(
        "conditional",
        "whether the server keeps conditions of puts: auto | yes | no; default: auto, asked by a probe",
    ),
    plain("timeout", "seconds without a byte after which a connection is given up; default: 10"),
    plain("deadline", "seconds that a request may take, all repetitions included; default: 60"),
    plain("retries", "how often a request that failed in passing is repeated; default: 8"),
];

const fn plain(name: &'static str, help: &'static str) -> OptionSpec {
    OptionSpec { name, help, secret: false }
}

/// What is sent beside the bytes of a put, so that the server can tell whether they arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    Crc64Nvme,
    Crc32,
    Crc32c,
    Md5,
    None,
}

/// Yes, no, or what is right for the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    Auto,
    Yes,
    No,
}

/// An address, understood.
#[derive(Clone, Debug)]
pub struct Options {
    pub bucket: String,
    /// With a slash at its end, or empty.
    pub prefix: String,
    pub endpoint: Option<String>,
    pub region: Option<String>,
    pub path_style: Option<bool>,
    pub profile: Option<String>,
    pub anonymous: bool,
    pub imds: Choice,
    pub ca: Option<String>,
    /// Bytes.
    pub part_size: u64,
    pub connections: usize,
    pub checksum: Checksum,
    pub sign: Choice,
    pub conditional: Choice,
    pub timeout: Duration,
    pub deadline: Duration,
    pub retries: u32,
    /// From the address's user and password, which is not where they should stand.
    pub keys: Option<(String, String)>,
}

impl Options {
    /// Understands an address.
    pub fn of(address: &Address) -> Result<Options, StoreError> {
        let wrong = |reason: String| StoreError::new(Kind::Invalid, &address.to_string(), None, reason);
        address.check_options(OPTIONS).map_err(|e| wrong(e.reason))?;
        let (bucket, port) = match &address.hosts[..] {
            [(bucket, port)] => (bucket, port),
            _ => return Err(wrong("an S3 address names one bucket, as in s3://bucket/prefix".into())),
        };
        if let Some(port) = port {
            let endpoint = "?endpoint=http://host";
            return Err(wrong(format!(
                "\"{bucket}:{port}\" is no bucket; the server is named by an option: s3://bucket/prefix{endpoint}:{port}"
            )));
        }
        let mut prefix = address.path.trim_start_matches('/').to_owned();
        if !prefix.is_empty() && !prefix.ends_with('/') {
            prefix.push('/');
        }
        codec::storable(&prefix).map_err(|why| wrong(format!("the prefix cannot begin a key: {why}")))?;
        // Something must be left for the key itself.
        if prefix.len() > MOST_KEY - 256 {
            return Err(wrong(format!(
                "the prefix has {} bytes; {} are possible",
                prefix.len(),
                MOST_KEY - 256
            )));
        }
        let get = |name: &str| address.option(name);
        let bad =
            |name: &str, value: &str, known: &str| wrong(format!("{name}={value}: {known} is possible"));
        let choice = |name: &str| match get(name) {
            None | Some("auto") => Ok(Choice::Auto),
            Some("yes") => Ok(Choice::Yes),
            Some("no") => Ok(Choice::No),
            Some(other) => Err(bad(name, other, "auto, yes or no")),
        };
        let number = |name: &str, default: u32, from: u32, to: u32| match get(name) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .ok()
                .filter(|n| (from..=to).contains(n))
                .ok_or_else(|| bad(name, text, &format!("a whole number from {from} to {to}"))),
        };
        let seconds = |name: &str, default: f64| match get(name) {
            None => Ok(Duration::from_secs_f64(default)),
            Some(text) => text
                .trim_end_matches('s')
                .parse()
                .ok()
                .filter(|s| (0.05..=86400.0).contains(s))
                .map(Duration::from_secs_f64)
                .ok_or_else(|| bad(name, text, "a number of seconds from 0.05 to 86400")),
        };
        let endpoint = get("endpoint").map(|text| text.trim_end_matches('/').to_owned());
        if let Some(url) = &endpoint
            && !["http://", "https://"].iter().any(|s| url.strip_prefix(s).is_some_and(|h| !h.is_empty()))
        {
            return Err(bad("endpoint", url, "a URL such as http://host:9000 or https://host"));
        }
        let keys = match (&address.user, &address.secret) {
            (Some(key), Some(secret)) => Some((key.clone(), secret.clone())),
            (None, None) => None,
            _ => {
                return Err(wrong(
                    "an access key needs its secret key; better give both by AWS_ACCESS_KEY_ID and \
                                  AWS_SECRET_ACCESS_KEY or a profile"
                        .into(),
                ));
            }
        };
        Ok(Options {
            bucket: bucket.clone(),
            prefix,
            endpoint,
            region: get("region").map(str::to_owned),
            path_style: match get("style") {
                None => None,
                Some("path") => Some(true),
                Some("virtual") => Some(false),
                Some(other) => return Err(bad("style", other, "path or virtual")),
            },
            profile: get("profile").map(str::to_owned),
            anonymous: match get("anonymous") {
                None | Some("no") => false,
                Some("yes") => true,
                Some(other) => return Err(bad("anonymous", other, "yes or no")),
            },
            imds: choice("imds")?,
            ca: get("ca").map(str::to_owned),
            part_size: match get("part_size") {
                None => 8 << 20,
                Some(text) => size(text)
                    .filter(|n| (LEAST_PART..=1 << 30).contains(n))
                    .ok_or_else(|| bad("part_size", text, "a size from 5MiB to 1GiB"))?,
            },
            connections: number("connections", 16, 1, 1024)? as usize,
            checksum: match get("checksum") {
                None | Some("crc64nvme") => Checksum::Crc64Nvme,
                Some("crc32") => Checksum::Crc32,
                Some("crc32c") => Checksum::Crc32c,
                Some("md5") => Checksum::Md5,
                Some("none") => Checksum::None,
                Some(other) => return Err(bad("checksum", other, "crc64nvme, crc32, crc32c, md5 or none")),
            },
            sign: choice("sign")?,
            conditional: choice("conditional")?,
            timeout: seconds("timeout", 10.0)?,
            deadline: seconds("deadline", 60.0)?,
            retries: number("retries", 8, 0, 100)?,
            keys,
        })
    }
}

/// Bytes of "8388608", "8MiB", "8M" or "8MB".
fn size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = match text[digits..].trim() {
        "" | "B" => 1,
        "KiB" | "K" | "k" => 1 << 10,
        "MiB" | "M" | "m" => 1 << 20,
        "GiB" | "G" | "g" => 1 << 30,
        "KB" | "kB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Options, StoreError> {
        Options::of(&Address::parse(text).unwrap())
    }

    #[test]
    fn an_address_is_understood() {
        let o = of("s3://b/a/c?endpoint=http://h:1/&part_size=16MiB&style=path&timeout=0.5&connections=3")
            .unwrap();
        assert_eq!((o.bucket.as_str(), o.prefix.as_str()), ("b", "a/c/"));
        assert_eq!(o.endpoint.as_deref(), Some("http://h:1"));
        assert_eq!((o.part_size, o.path_style, o.connections), (16 << 20, Some(true), 3));
        assert_eq!(o.timeout, Duration::from_millis(500));
        assert_eq!(of("s3://b").unwrap().prefix, "");
        assert_eq!(of("s3://b/").unwrap().prefix, "");
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_possible() {
        for (text, says) in [
            ("s3:///x", "one bucket"),
            ("s3://h:9000/b", "endpoint=http://host:9000"),
            ("s3://b?endpoint=h:1", "http://host:9000"),
            ("s3://b?part_size=1MiB", "5MiB"),
            ("s3://b?part_sise=8MiB", "\"part_size\""),
            ("s3://b?checksum=crc", "crc64nvme"),
            ("s3://b?timeout=0", "0.05"),
            ("s3://b?retries=-1", "whole number"),
            ("s3://key@b", "secret key"),
            ("s3://b/a%0Ab", "control"),
        ] {
            let said = of(text).unwrap_err().to_string();
            assert!(said.contains(says), "{text}: {said}");
        }
        assert!(!of("s3://key:hush@b?style=x").unwrap_err().to_string().contains("hush"));
    }
}
