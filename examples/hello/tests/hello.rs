//! The operation, as a server runs it.

use skep::json;
use skep::testing::TestServer;
use skep_hello as _;

#[test]
fn it_greets_a_word_at_a_time() {
    let server = TestServer::start();
    let job = server.run("hello", json!({ "name": "Ada" }));
    assert_eq!(job.outputs(), ["Hello,", "Ada"]);
    assert_eq!(job.result(), "Hello, Ada!");
}

#[test]
fn it_stops_where_it_is_cancelled() {
    let server = TestServer::start();
    let job = server.create_until("hello", json!({ "name": "Ada" }), 2);
    job.cancel();
    assert_eq!(job.outputs(), ["Hello,"]);
}

#[test]
fn what_its_callers_rely_on_has_not_changed() {
    TestServer::start().assert_specs("tests/specs.json");
}
