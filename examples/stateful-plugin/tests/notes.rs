//! The family, as a server runs it.

use std::time::Duration;

use skep::json;
use skep::testing::{Fault, StoreCall, TestServer};
use skep_notes as _;

fn server() -> TestServer {
    TestServer::builder().config("notes", json!({ "max": 2 })).start()
}

fn write(server: &TestServer, title: &str) -> Result<skep::Value, skep::Problem> {
    let written = server.call("note_write", json!({ "title": title, "text": "..." }));
    // The titles are kept beside.
    server.advance(Duration::from_millis(1));
    written
}

#[test]
fn notes_outlive_the_server() {
    let server = server();
    write(&server, "tea").unwrap();
    server.crash();
    let shown = server.call("note_show", json!({ "title": "tea" })).unwrap();
    assert_eq!(shown, json!({ "title": "tea", "text": "..." }));
    assert_eq!(server.run("note_list", json!({})).outputs(), ["tea"]);
}

#[test]
fn there_are_no_more_than_configured_and_one_is_written_anew() {
    let server = server();
    for title in ["tea", "milk", "tea"] {
        write(&server, title).unwrap();
    }
    let refused = write(&server, "bread").unwrap_err();
    assert_eq!((&*refused.code, refused.status), ("too-many-notes", 409));
    server.call("note_delete", json!({ "title": "tea" })).unwrap();
    server.advance(Duration::from_millis(1));
    write(&server, "bread").unwrap();
    assert_eq!(server.run("note_list", json!({})).outputs(), ["bread", "milk"]);
}

#[test]
fn what_is_not_there_is_said_to_be_none() {
    let server = server();
    for operation in ["note_show", "note_delete"] {
        let refused = server.call(operation, json!({ "title": "tea" })).unwrap_err();
        assert_eq!((&*refused.code, refused.status), ("no-note", 404), "{operation}");
    }
}

#[test]
fn a_watcher_is_told_each_change_until_it_is_cancelled() {
    let server = server();
    let watch = server.create("note_watch", json!({}));
    watch.events_until(1);
    server.advance(Duration::from_millis(1));
    write(&server, "tea").unwrap();
    server.call("note_delete", json!({ "title": "tea" })).unwrap();
    watch.events_until(3);
    watch.cancel();
    let note = json!({ "title": "tea", "text": "..." });
    assert_eq!(watch.outputs(), [json!({ "written": note }), json!({ "deleted": "tea" })]);
}

#[test]
fn a_server_that_cannot_read_its_notes_says_so() {
    let server = server();
    server.inject(|call| match call {
        StoreCall::Documents => Fault::Fails,
        _ => Fault::None,
    });
    let router = server.router();
    let health = server.block_on(async move { router.health().await });
    assert!(format!("{health:?}").contains("Unhealthy"), "{health:?}");
}
