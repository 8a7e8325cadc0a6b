//! Which server, which region, who we are: the SDK's client from the options, the environment and the shared
//! configuration files. Asks nobody by the network; credentials that need that are asked for by the first request.

use crate::options::{Choice, Options};
use crate::web::Web;
use aws_config::BehaviorVersion;
use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::{EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider};
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    Region, RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig,
};
use aws_smithy_async::rt::sleep::TokioSleep;
use std::time::Duration;

/// A client, and what it talks to.
pub struct Login {
    pub client: Client,
    /// URL of the server, where it is not AWS's own.
    pub endpoint: Option<String>,
    /// Whether that URL is one of AWS, which keeps every promise.
    pub aws: bool,
    /// Whether bytes travel unencrypted.
    pub plain: bool,
}

/// Makes the client.
pub async fn login(options: &Options, web: &Web) -> Login {
    let config =
        ProviderConfig::without_region().with_http_client(web.clone()).with_sleep_impl(TokioSleep::new());
    let mut region = ProfileFileRegionProvider::builder().configure(&config);
    let mut profile = ProfileFileCredentialsProvider::builder().configure(&config);
    if let Some(name) = &options.profile {
        region = region.profile_name(name);
        profile = profile.profile_name(name);
    }
    let region = match &options.region {
        Some(name) => Region::new(name.clone()),
        None => RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
            .or_else(region.build())
            .or_else(Region::new("us-east-1"))
            .region()
            .await
            .unwrap_or(Region::new("us-east-1")),
    };
    let config = config.with_region(Some(region.clone()));

    // Everything but credentials: retries and timeouts are this crate's own (they cover bodies too).
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(web.clone())
        .sleep_impl(TokioSleep::new())
        .region(region)
        .no_credentials()
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if let Some(name) = &options.profile {
        loader = loader.profile_name(name);
    }
    let shared = loader.load().await;
    let variable = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let endpoint = options
        .endpoint
        .clone()
        .or_else(|| variable("AWS_ENDPOINT_URL_S3"))
        .or_else(|| variable("AWS_ENDPOINT_URL"))
        .or_else(|| shared.endpoint_url().map(str::to_owned));
    let aws = endpoint.as_deref().is_none_or(of_aws);
    let plain = endpoint.as_deref().is_some_and(|url| url.starts_with("http://"));

    let mut s3 = aws_sdk_s3::config::Builder::from(&shared)
        // Computed and compared here, once, for every server: ranges and old servers too.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .force_path_style(options.path_style.unwrap_or(!aws));
    if let Some(url) = &endpoint {
        s3 = s3.endpoint_url(url);
    }
    if options.anonymous {
        s3 = s3.allow_no_auth();
    } else if let Some((key, secret)) = &options.keys {
        s3 = s3.credentials_provider(Credentials::new(key, secret, None, None, "address"));
    } else {
        let profile = profile.build();
        let mut chain = match &options.profile {
            // A profile that is asked for by name comes before the environment.
            Some(_) => CredentialsProviderChain::first_try("profile", profile)
                .or_else("environment", EnvironmentVariableCredentialsProvider::new()),
            None => CredentialsProviderChain::first_try(
                "environment",
                EnvironmentVariableCredentialsProvider::new(),
            )
            .or_else("profile", profile),
        }
        .or_else("web identity", WebIdentityTokenCredentialsProvider::builder().configure(&config).build())
        .or_else("container", EcsCredentialsProvider::builder().configure(&config).build());
        if options.imds == Choice::Yes || options.imds == Choice::Auto && aws {
            let second = Duration::from_secs(1);
            let imds = aws_config::imds::Client::builder()
                .configure(&config)
                .connect_timeout(second)
                .read_timeout(second)
                .max_attempts(1)
                .build();
            chain = chain.or_else(
                "machine",
                ImdsCredentialsProvider::builder().configure(&config).imds_client(imds).build(),
            );
        }
        s3 = s3.credentials_provider(chain);
    }
    Login { client: Client::from_conf(s3.build()), endpoint, aws, plain }
}

/// Whether a URL is AWS's.
fn of_aws(url: &str) -> bool {
    let host = url.split("://").nth(1).unwrap_or(url);
    let host = host.split(['/', ':']).next().unwrap_or(host);
    [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"].iter().any(|end| host.ends_with(end))
}

#[cfg(test)]
mod tests {
    #[test]
    fn hosts_of_aws_are_known() {
        assert!(super::of_aws("https://s3.eu-central-1.amazonaws.com/"));
        assert!(!super::of_aws("http://amazonaws.com.example:9000") && !super::of_aws("http://127.0.0.1:1"));
    }
}
