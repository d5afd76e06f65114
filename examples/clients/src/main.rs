//! A server for the clients in this folder: the system family, and a page for the browser.

use std::process::ExitCode;

use skep::http::{self, Body, Request, Response};
use skep::prelude::*;
use skep_system as _;

fn main() -> ExitCode {
    skep_server::main()
}

#[derive(Default)]
struct Page;

/// A page that follows a job.
#[skep::plugin(name = "page")]
impl Page {
    #[route(GET, "/")]
    async fn page(&self, _request: Request) -> Result<Response> {
        let page = include_bytes!("../page.html").as_slice();
        Ok(http::with_type("text/html; charset=utf-8", Body::Whole(page.into())))
    }
}
