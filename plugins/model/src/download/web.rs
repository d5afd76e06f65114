//! Asking for a file over HTTP: one GET, its redirects followed, each address looked at before it's
//! asked.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::ring::default_provider;
use skep::prelude::*;
use tokio::net::lookup_host;
use tokio::time::timeout;
use tower_service::Service;
use url::Url;

use crate::download::address::{Allowed, Forbidden, Way, is_public};
use crate::download::failure::Failure;
use crate::download::source::Remote;

/// How many addresses are asked before one of them answers.
const MAX_REDIRECTS: usize = 10;

/// How long a connection may take, with all addresses that a host has.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

const USER_AGENT: &str = concat!("skep/", env!("CARGO_PKG_VERSION"));

/// What the hub says of a file that it keeps elsewhere, beside the redirect to it.
const LINKED_ETAG: HeaderName = HeaderName::from_static("x-linked-etag");

type Requests = Client<HttpsConnector<HttpConnector<Resolver>>, Empty<Bytes>>;

/// The client, and where it may go.
pub(crate) struct Web {
    public: Requests,
    any: Requests,
    allowed: Allowed,
    hub: Hub,
    /// How long an answer may be awaited.
    patience: Duration,
}

/// Where `hf:` leads.
#[derive(Clone)]
pub(crate) struct Hub {
    pub(crate) endpoint: Url,
    /// Told to the endpoint, and to no host that it redirects to.
    pub(crate) token: Option<String>,
}

/// What of a file is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Range {
    pub(crate) from: u64,
    /// Only if the file is still the one that this tells (`If-Range`).
    pub(crate) validator: Option<String>,
}

/// An answer that isn't a redirect.
pub(crate) struct Answer {
    /// Who has answered, for people.
    pub(crate) host: String,
    pub(crate) response: Response<Incoming>,
    /// The file's SHA-256, if the hub tells it.
    pub(crate) sha256: Option<String>,
}

impl Web {
    /// # Errors
    /// If the system has no certificates that it trusts.
    pub(crate) fn new(allowed: Allowed, hub: Hub, patience: Duration) -> io::Result<Self> {
        let allowed = allowed.and(&hub.endpoint);
        let requests = |way| {
            let mut connector = HttpConnector::new_with_resolver(Resolver(way));
            connector.enforce_http(false);
            connector.set_nodelay(true);
            connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
            let connector = HttpsConnectorBuilder::new()
                .with_provider_and_native_roots(default_provider())?
                .https_or_http()
                .enable_http1()
                .wrap_connector(connector);
            // A connection that broke off in the middle of a file is of no use for another.
            Ok::<_, io::Error>(
                Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector),
            )
        };
        Ok(Self {
            public: requests(Way::Public)?,
            any: requests(Way::Any)?,
            allowed,
            hub,
            patience,
        })
    }

    /// Asks for the file of `source`, or for what comes behind `range`.
    pub(crate) async fn get(
        &self,
        source: &Remote,
        range: Option<&Range>,
    ) -> Result<Answer, Failure> {
        let mut url = self.url(source)?;
        let mut sha256 = None;
        for _ in 0..=MAX_REDIRECTS {
            url.set_fragment(None);
            let host = url.host_str().unwrap_or_default().to_owned();
            let response = self.ask(&url, range).await?;
            if self.is_hub(&url) {
                sha256 = sha256.or_else(|| digest(response.headers()));
            }
            let Some(to) = redirect(&response) else {
                return Ok(Answer { host, response, sha256 });
            };
            url = url.join(&to).map_err(|error| {
                let detail = format!("{host} redirects to what is no address ({error})");
                Failure::Final(OperationError::new("download-refused", detail).with_status(502))
            })?;
        }
        let detail = format!("{source} leads in circles: {MAX_REDIRECTS} redirects weren't enough");
        Err(Failure::Final(OperationError::new("download-refused", detail).with_status(502)))
    }

    fn url(&self, source: &Remote) -> Result<Url> {
        let (owner, repo, revision, file) = match source {
            Remote::Hub { owner, repo, revision, file } => (owner, repo, revision, file),
            Remote::Web(url) => return Ok(url.clone()),
        };
        let mut url = self.hub.endpoint.clone();
        let revision = revision.as_deref().unwrap_or("main");
        url.path_segments_mut()
            .map_err(|()| OperationError::message("`hf_endpoint` can't have a path"))?
            .pop_if_empty()
            .extend([owner, repo, "resolve", revision])
            .extend(file.split('/'));
        Ok(url)
    }

    async fn ask(&self, url: &Url, range: Option<&Range>) -> Result<Response<Incoming>, Failure> {
        let requests = match self.allowed.check(url).map_err(|why| forbidden(&why))? {
            Way::Public => &self.public,
            Way::Any => &self.any,
        };
        let mut request = Request::get(url.as_str())
            .header(header::USER_AGENT, USER_AGENT)
            // What is counted, compared and kept is the file as it is.
            .header(header::ACCEPT_ENCODING, "identity");
        if let Some(Range { from, validator }) = range {
            request = request.header(header::RANGE, format!("bytes={from}-"));
            if let Some(validator) = validator {
                request = request.header(header::IF_RANGE, validator);
            }
        }
        if let Some(token) = self.hub.token.as_ref().filter(|_| self.is_hub(url)) {
            let bearer = HeaderValue::try_from(format!("Bearer {token}"));
            let mut bearer = bearer.map_err(|_| {
                let detail = "`hf_token` has characters that can't be sent";
                Failure::Final(OperationError::message(detail))
            })?;
            bearer.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, bearer);
        }
        let request = request.body(Empty::new()).map_err(|error| {
            let detail = format!("{url} can't be asked for: {error}");
            Failure::Final(OperationError::new("invalid-source", detail).with_status(422))
        })?;
        let host = url.host_str().unwrap_or_default();
        match timeout(self.patience, requests.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(unanswered(host, &error)),
            Err(_) => {
                let patience = self.patience.as_secs_f64();
                Err(Failure::passing(format!("{host} hasn't answered within {patience} s")))
            }
        }
    }

    fn is_hub(&self, url: &Url) -> bool {
        url.origin() == self.hub.endpoint.origin()
    }
}

/// Finds a host's addresses; only public ones unless all may be asked.
#[derive(Clone, Debug)]
struct Resolver(Way);

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self(way) = *self;
        Box::pin(async move {
            let addresses = lookup_host((name.as_str(), 0)).await?;
            let may_be_asked = |address: &SocketAddr| way == Way::Any || is_public(address.ip());
            let addresses: Vec<_> = addresses.filter(may_be_asked).collect();
            if addresses.is_empty() {
                return Err(Forbidden::Private(name.to_string()).into());
            }
            Ok(addresses.into_iter())
        })
    }
}

/// Where a response sends on to.
fn redirect(response: &Response<Incoming>) -> Option<String> {
    let leads_on = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let to = response.headers().get(header::LOCATION).filter(|_| leads_on)?;
    to.to_str().ok().map(str::to_owned)
}

/// The hub's digest of a file: for large ones it's the SHA-256, for others Git's.
fn digest(headers: &HeaderMap) -> Option<String> {
    let etag = headers.get(LINKED_ETAG)?.to_str().ok()?.trim_matches('"');
    let is_sha256 = etag.len() == 64 && etag.chars().all(|c| c.is_ascii_hexdigit());
    is_sha256.then(|| etag.to_ascii_lowercase())
}

fn forbidden(forbidden: &Forbidden) -> Failure {
    let detail = format!(
        "{forbidden}; the server's operator can allow it by `allowed_hosts` in [plugins.model]"
    );
    Failure::Final(OperationError::new("address-not-allowed", detail).with_status(422))
}

fn unanswered(host: &str, error: &hyper_util::client::legacy::Error) -> Failure {
    let mut causes: Vec<&(dyn Error + 'static)> = vec![error];
    while let Some(cause) = causes[causes.len() - 1].source() {
        causes.push(cause);
    }
    if let Some(why) = causes.iter().find_map(|cause| cause.downcast_ref()) {
        return forbidden(why);
    }
    if let Some(why) = causes.iter().find_map(|cause| untrusted(*cause)) {
        let detail = format!("{host} can't be trusted, or doesn't speak TLS: {why}");
        return Failure::Final(OperationError::new("download-refused", detail).with_status(502));
    }
    // The last one has the reason, those before it say where it was noticed.
    let cause = causes[causes.len() - 1];
    Failure::passing(format!("{host} can't be reached: {cause}"))
}

/// What TLS says against a host, if it's that: it says the same when it's asked again.
fn untrusted<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let inner = cause.downcast_ref::<io::Error>()?.get_ref()?;
    inner.downcast_ref().or_else(|| untrusted(inner))
}
