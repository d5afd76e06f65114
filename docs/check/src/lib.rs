//! The book's pages, so that their blocks of Rust are compiled and run: `cargo test --doc -p
//! skep-book`. All else about them is tested in `tests/it`.

/// Declares a page a module, which has the page for its documentation.
macro_rules! pages {
    ($($name:ident = $path:literal;)*) => {
        $(#[cfg(doctest)]
        #[doc = include_str!(concat!("../../src/", $path))]
        mod $name {})*
    };
}

pages! {
    tutorial = "tutorial.md";
    howto_input = "howto/input.md";
    howto_state = "howto/state.md";
    howto_stream = "howto/stream.md";
    howto_survive = "howto/survive.md";
    howto_cancel = "howto/cancel.md";
    howto_call = "howto/call.md";
    howto_blocking = "howto/blocking.md";
    howto_place = "howto/place.md";
    howto_deprecate = "howto/deprecate.md";
    howto_test = "howto/test.md";
    howto_interceptor = "howto/interceptor.md";
    howto_routes = "howto/routes.md";
    howto_command = "howto/command.md";
    howto_metrics = "howto/metrics.md";
    howto_embed = "howto/embed.md";
    howto_server = "howto/server.md";
    from_caddy = "from/caddy.md";
    from_mcp = "from/mcp.md";
    from_celery = "from/celery.md";
    from_temporal = "from/temporal.md";
}
