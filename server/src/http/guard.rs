//! Who may ask: `Host` and `Origin`.
//!
//! A server on a loopback address is still reachable by every web page that its user opens. A page
//! of another site is told by its `Origin` (CSRF); one that has pointed its own name at 127.0.0.1 is
//! told by the `Host` (DNS rebinding).

use std::net::IpAddr;

use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Request, Uri};
use skep::Problem;
use skep::problem::Code;

/// Checks who asks.
pub(crate) struct Guard {
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl Guard {
    /// A guard that knows `hosts` and `origins` beside the server's own.
    pub(crate) fn new(hosts: &[String], origins: &[String]) -> Self {
        let lower = |names: &[String]| names.iter().map(|name| name.to_ascii_lowercase()).collect();
        Self { hosts: lower(hosts), origins: lower(origins) }
    }

    /// Lets `request` pass, or says why not.
    pub(crate) fn check<B>(&self, request: &Request<B>) -> Result<(), Problem> {
        let has_origin = request.headers().contains_key(header::ORIGIN);
        if !has_origin && plain_host(request).is_some_and(|host| self.knows(host)) {
            return Ok(());
        }
        let host = host(request)?;
        if !self.knows(host.host()) {
            let detail = format!(
                "`{host}` is not a name of this server; if it should be, add it to `server.hosts`"
            );
            return Err(Problem::new(Code::MisdirectedRequest, detail));
        }
        let Some(origin) = request.headers().get(header::ORIGIN) else { return Ok(()) };
        let origin = String::from_utf8_lossy(origin.as_bytes()).to_ascii_lowercase();
        if self.origins.contains(&origin) || is_same(&origin, &host) {
            return Ok(());
        }
        let detail = format!(
            "pages of `{origin}` may not use this server; if they should, add it to \
             `server.origins`"
        );
        Err(Problem::new(Code::Forbidden, detail))
    }

    fn knows(&self, host: &str) -> bool {
        // An address can't be pointed anywhere, so it can't be a rebound name.
        let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        is_address
            || host.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
    }
}

/// The host that is asked: HTTP/2's `:authority`, or the `Host` header.
fn host<B>(request: &Request<B>) -> Result<Authority, Problem> {
    if let Some(authority) = request.uri().authority() {
        return Ok(authority.clone());
    }
    let bad = |detail: &str| {
        Problem::new(Code::InvalidHeader, detail).with("header", name(&header::HOST))
    };
    let Some(value) = host_header(request) else {
        return Err(bad("a request has one `Host` header (RFC 9112, 3.2)"));
    };
    Authority::try_from(value.as_bytes()).map_err(|_| bad("the `Host` header is not a host"))
}

/// The same without its port, where it can be read as it stands, as nearly always: as an authority it
/// would have to be copied first.
fn plain_host<B>(request: &Request<B>) -> Option<&str> {
    if request.uri().authority().is_some() {
        return None;
    }
    let value = host_header(request)?.to_str().ok()?;
    match value.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(host),
        _ => Some(value),
    }
}

/// The `Host` header, if there's one and no other.
fn host_header<B>(request: &Request<B>) -> Option<&HeaderValue> {
    let mut values = request.headers().get_all(header::HOST).iter();
    values.next().filter(|_| values.next().is_none())
}

fn name(header: &HeaderName) -> &str {
    header.as_str()
}

/// Whether a page of `origin` is the server's own.
fn is_same(origin: &str, host: &Authority) -> bool {
    let Ok(origin) = origin.parse::<Uri>() else { return false };
    origin.authority().is_some_and(|authority| {
        authority.host().eq_ignore_ascii_case(host.host())
            && authority.port_u16() == host.port_u16()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, origin: Option<&str>) -> Result<(), u16> {
        let guard = Guard::new(&["Skep.Home".to_owned()], &["https://ui.example".to_owned()]);
        let mut request = Request::builder().uri("/health").header("host", host);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        guard.check(&request.body(()).unwrap()).map_err(|problem| problem.status)
    }

    #[test]
    fn addresses_and_known_names_are_this_server() {
        for host in ["127.0.0.1:7833", "[::1]:7833", "localhost", "LOCALHOST:1", "skep.home"] {
            assert_eq!(check(host, None), Ok(()), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example"] {
            assert_eq!(check(host, None), Err(421), "{host}");
        }
        assert_eq!(check("a b", None), Err(400));
    }

    #[test]
    fn only_pages_of_this_server_and_known_ones_may_use_it() {
        let host = "localhost:7833";
        for origin in ["http://localhost:7833", "https://ui.example"] {
            assert_eq!(check(host, Some(origin)), Ok(()), "{origin}");
        }
        for origin in
            ["http://localhost:80", "https://evil.example", "null", "", "http://127.0.0.1:7833"]
        {
            assert_eq!(check(host, Some(origin)), Err(403), "{origin}");
        }
    }
}
