//! The SDK's HTTP client: hyper's pooled client over this crate's connections. The SDK's own would leave no say in how
//! sockets are made.

use crate::net::Connector;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::error::Error;
use std::fmt;
use std::time::Duration;

/// A pool of connections.
#[derive(Clone)]
pub struct Web {
    client: Client<Connector, SdkBody>,
    /// Until the answer begins; none for those of the store, whose connections see to it themselves.
    within: Option<Duration>,
}

impl Web {
    /// A pool of at most `idle` connections without work.
    pub fn new(connector: Connector, idle: usize) -> Web {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(idle)
            // Servers close idle connections, often after a minute, and lose a request that was on its way.
            .pool_idle_timeout(Duration::from_secs(9))
            .build(connector);
        Web { client, within: None }
    }
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Web")
    }
}

impl HttpClient for Web {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        let within = match (settings.connect_timeout(), settings.read_timeout()) {
            (None, None) => None,
            (connect, read) => Some(connect.unwrap_or_default() + read.unwrap_or_default()),
        };
        SharedHttpConnector::new(Web { client: self.client.clone(), within })
    }
}

impl HttpConnector for Web {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (client, within) = (self.client.clone(), self.within);
        HttpConnectorFuture::new(async move {
            let mut request = request.try_into_http1x().map_err(|e| ConnectorError::user(e.into()))?;
            // Some servers (RGW) answer 411 to a body of no bytes that does not say so.
            if matches!(*request.method(), http::Method::PUT | http::Method::POST)
                && request.body().content_length() == Some(0)
            {
                request
                    .headers_mut()
                    .entry(http::header::CONTENT_LENGTH)
                    .or_insert(http::HeaderValue::from_static("0"));
            }
            let answer = async {
                let answer = client.request(request).await.map_err(failed)?.map(SdkBody::from_body_1_x);
                HttpResponse::try_from(answer).map_err(|e| ConnectorError::other(e.into(), None))
            };
            match within {
                None => answer.await,
                Some(within) => tokio::time::timeout(within, answer)
                    .await
                    .map_err(|late| ConnectorError::timeout(late.into()))?,
            }
        })
    }
}

/// All that can go wrong between two ends of a connection may be gone the next time, but for what the caller did.
fn failed(e: hyper_util::client::legacy::Error) -> ConnectorError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&e);
    let mut user = false;
    while let Some(error) = cause {
        user |= error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_user);
        cause = error.source();
    }
    if user { ConnectorError::user(e.into()) } else { ConnectorError::io(e.into()) }
}
