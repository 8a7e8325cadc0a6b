//! What went wrong in one attempt: the kind that the engine acts on, words for people, and whether to try again.

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use iris_store::Kind;
use std::error::Error;

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// It would fail again.
    No,
    /// After a pause that grows.
    Later,
    /// With credentials that are read anew.
    Renewed,
}

/// A failed attempt.
#[derive(Clone, Debug)]
pub struct Fault {
    pub kind: Kind,
    pub detail: String,
    pub again: Again,
    /// Whether the server may have done it nevertheless.
    pub perhaps_done: bool,
    /// The HTTP status, 0 where there was no answer.
    pub status: u16,
}

impl Fault {
    /// One that is not tried again.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Fault {
        Fault { kind, detail: detail.into(), again: Again::No, perhaps_done: false, status: 0 }
    }

    /// One that may pass.
    pub fn passing(kind: Kind, detail: impl Into<String>) -> Fault {
        Fault { again: Again::Later, ..Fault::new(kind, detail) }
    }

    /// What an SDK's error means; `what` names the request.
    pub fn of<E>(what: &str, error: SdkError<E, HttpResponse>) -> Fault
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        match error {
            SdkError::ServiceError(e) => {
                let (status, meta) = (e.raw().status().as_u16(), e.err().meta());
                if status < 300 && meta.code().is_none() {
                    return not_understood(what, status, &chain(e.err()));
                }
                let retry_region = e.raw().headers().get("x-amz-bucket-region").map(str::to_owned);
                answered(what, status, meta.code().unwrap_or(""), meta.message().unwrap_or(""), retry_region)
            }
            SdkError::ResponseError(_) => {
                let status = error.raw_response().map_or(0, |raw| raw.status().as_u16());
                if status >= 400 {
                    return answered(what, status, "", "", None);
                }
                let source = error.into_source().unwrap_or_else(|_| "no reason given".into());
                not_understood(what, status, &chain(&*source))
            }
            other => {
                let sent = matches!(other, SdkError::DispatchFailure(_) | SdkError::TimeoutError(_));
                let passing = match &other {
                    SdkError::DispatchFailure(e) => !e.is_user(),
                    SdkError::TimeoutError(_) => true,
                    _ => false,
                };
                let source = other.into_source().unwrap_or_else(|_| "no reason given".into());
                if let Some(e) = find::<CredentialsError>(&*source) {
                    return credentials(what, e);
                }
                let text = chain(&*source);
                if passing {
                    let detail = format!("{what}: {text}; is the server up and its address right?");
                    return Fault { perhaps_done: sent, ..Fault::passing(Kind::Unavailable, detail) };
                }
                Fault::new(Kind::Invalid, format!("{what}: the request cannot be made: {text}"))
            }
        }
    }
}

fn not_understood(what: &str, status: u16, why: &str) -> Fault {
    let detail =
        format!("{what}: the answer (status {status}) cannot be understood: {why}; is this an S3 server?");
    Fault { perhaps_done: true, ..Fault::passing(Kind::Corrupt, detail) }
}

fn credentials(what: &str, e: &CredentialsError) -> Fault {
    match e {
        CredentialsError::CredentialsNotLoaded(_) => Fault::new(
            Kind::Denied,
            format!(
                "{what}: no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile \
                 (AWS_PROFILE, ~/.aws/credentials), or \"anonymous=yes\""
            ),
        ),
        CredentialsError::ProviderTimedOut(_) => Fault::passing(
            Kind::Unavailable,
            format!("{what}: who gives the credentials does not answer: {}", chain(e)),
        ),
        _ => Fault::new(Kind::Denied, format!("{what}: the credentials cannot be had: {}", chain(e))),
    }
}

/// An error that the server told.
pub fn answered(what: &str, status: u16, code: &str, message: &str, region: Option<String>) -> Fault {
    let (kind, again, hint) = match code {
        "NoSuchBucket" => {
            (Kind::Invalid, Again::No, "there is no such bucket; make it, or correct the address")
        }
        "InvalidBucketName" => (Kind::Invalid, Again::No, "correct the bucket's name in the address"),
        "NoSuchKey" | "NotFound" | "NoSuchVersion" => (Kind::NotFound, Again::No, ""),
        "PreconditionFailed" => (Kind::Precondition, Again::No, ""),
        // Two conditional puts at once: the server asks to try again.
        "ConditionalRequestConflict" | "OperationAborted" => (Kind::Precondition, Again::Later, ""),
        "SlowDown"
        | "ServiceUnavailable"
        | "RequestLimitExceeded"
        | "TooManyRequests"
        | "ThrottlingException"
        | "Throttling"
        | "BandwidthLimitExceeded" => (
            Kind::Unavailable,
            Again::Later,
            "the server asks for fewer requests; lower \"connections\", or try later",
        ),
        "RequestTimeout" | "InternalError" | "IncompleteBody" => {
            (Kind::Unavailable, Again::Later, "try later")
        }
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "InvalidToken" => {
            (Kind::Denied, Again::Renewed, "the session's credentials have expired; renew them")
        }
        "InvalidAccessKeyId" => (Kind::Denied, Again::Renewed, "the server does not know this access key"),
        "SignatureDoesNotMatch" => {
            (Kind::Denied, Again::No, "the secret key is not the one of this access key")
        }
        "RequestTimeTooSkewed" => (Kind::Denied, Again::No, "set this machine's clock"),
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => (
            Kind::Denied,
            Again::No,
            "let these credentials do it (policy of bucket or user), or give others",
        ),
        "BadDigest" | "InvalidDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch" => {
            (Kind::Corrupt, Again::Later, "the bytes were changed on their way")
        }
        "EntityTooLarge" | "KeyTooLongError" | "MetadataTooLarge" => (Kind::TooLarge, Again::No, ""),
        "QuotaExceeded" | "InsufficientCapacity" | "XMinioStorageFull" | "StorageFull" => {
            (Kind::Full, Again::No, "make room, or raise the quota")
        }
        "NotImplemented" => (Kind::Unsupported, Again::No, "this server cannot do it"),
        "PermanentRedirect"
        | "TemporaryRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException" => {
            (Kind::Invalid, Again::No, "the bucket is elsewhere; set \"region\" or \"endpoint\"")
        }
        "NoSuchUpload" => (Kind::Unavailable, Again::No, "the upload was removed meanwhile"),
        _ => match status {
            404 => (Kind::NotFound, Again::No, ""),
            // The answer to a HEAD has no body to tell more.
            400 | 403 if code.is_empty() => (
                Kind::Denied,
                Again::Renewed,
                "the server says no more; expired credentials, a missing right or another region are usual reasons",
            ),
            401 | 403 => (Kind::Denied, Again::No, "let these credentials do it, or give others"),
            405 => (Kind::Unsupported, Again::No, ""),
            408 | 429 => (Kind::Unavailable, Again::Later, "try later"),
            409 => (Kind::Precondition, Again::Later, ""),
            412 => (Kind::Precondition, Again::No, ""),
            413 => (Kind::TooLarge, Again::No, ""),
            501 => (Kind::Unsupported, Again::No, "this server cannot do it"),
            507 => (Kind::Full, Again::No, "make room, or raise the quota"),
            500.. => (Kind::Unavailable, Again::Later, "the server is in trouble; try later"),
            300..=399 => {
                (Kind::Invalid, Again::No, "the bucket is elsewhere; set \"region\" or \"endpoint\"")
            }
            _ => (Kind::Invalid, Again::No, ""),
        },
    };
    let mut detail = format!("{what}: status {status}");
    if !code.is_empty() {
        detail = format!("{detail} {code}");
    }
    if !message.is_empty() && message != code {
        // A proxy's page, perhaps.
        let short: String = message.chars().filter(|c| !c.is_control()).take(200).collect();
        detail = format!("{detail} ({short})");
    }
    if !hint.is_empty() {
        detail = format!("{detail}: {hint}");
    }
    if let Some(region) = region.filter(|_| (300..400).contains(&status)) {
        detail = format!("{detail}; it is in region {region}");
    }
    Fault { kind, detail, again, perhaps_done: status >= 500 || status == 408, status }
}

/// An error and its causes, each said once.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        let said = e.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = e.source();
    }
    text
}

fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut cause = Some(error);
    while let Some(e) = cause {
        if let Some(found) = e.downcast_ref::<E>() {
            return Some(found);
        }
        cause = e.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_what_the_engine_acts_on() {
        let of = |status, code| {
            let fault = answered("GetObject", status, code, "", None);
            (fault.kind, fault.again)
        };
        assert_eq!(of(404, "NoSuchKey"), (Kind::NotFound, Again::No));
        assert_eq!(of(404, "NoSuchBucket"), (Kind::Invalid, Again::No));
        assert_eq!(of(404, ""), (Kind::NotFound, Again::No));
        assert_eq!(of(503, "SlowDown"), (Kind::Unavailable, Again::Later));
        assert_eq!(of(500, ""), (Kind::Unavailable, Again::Later));
        assert_eq!(of(400, "ExpiredToken"), (Kind::Denied, Again::Renewed));
        assert_eq!(of(400, ""), (Kind::Denied, Again::Renewed));
        assert_eq!(of(403, "QuotaExceeded"), (Kind::Full, Again::No));
        assert_eq!(of(403, "Unheard"), (Kind::Denied, Again::No));
        assert_eq!(of(412, ""), (Kind::Precondition, Again::No));
        assert_eq!(of(301, "PermanentRedirect"), (Kind::Invalid, Again::No));
        assert_eq!(of(400, "BadDigest"), (Kind::Corrupt, Again::Later));
    }
}
