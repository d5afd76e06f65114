//! Who asks, where a proxy before the server knows and tells.

use hyper::header::HeaderMap;
use skep::Problem;
use skep::job::Caller;

use crate::http::Http;
use crate::http::request::{header_text, invalid_header};

/// The longest name of a caller, bytes.
const MAX_NAME: usize = 128;

impl Http {
    /// Who asks for a job, by the header that is configured for it. Whoever gives none has no name.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        let Some(header) = &self.caller_header else { return Ok(Caller::Client(None)) };
        let name = header_text(headers, header)?.map(str::trim).filter(|name| !name.is_empty());
        if name.is_some_and(|name| name.len() > MAX_NAME) {
            let detail = format!("a caller's name has {MAX_NAME} characters at most");
            return Err(invalid_header(header, &detail));
        }
        Ok(Caller::Client(name.map(Into::into)))
    }
}
