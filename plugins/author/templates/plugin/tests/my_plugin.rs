//! The operation, as a server runs it.

use my_plugin as _;
use skep::json;
use skep::testing::TestServer;

#[test]
fn it_says_a_text_a_word_at_a_time() {
    let server = TestServer::start();
    let job = server.run("my_plugin", json!({ "text": "good morning" }));
    assert_eq!(job.outputs(), ["good!", "morning!"]);
    assert_eq!(job.result(), json!({ "words": 2, "count": 1 }));
    let again = server
        .call("my_plugin", json!({ "text": "again" }))
        .unwrap();
    assert_eq!(again, json!({ "words": 1, "count": 2 }));
}

#[test]
fn its_words_end_as_they_are_configured_to() {
    let server = TestServer::builder()
        .config("my-plugin", json!({ "ending": "?" }))
        .start();
    let job = server.run("my_plugin", json!({ "text": "really" }));
    assert_eq!(job.outputs(), ["really?"]);
}

#[test]
fn a_text_of_nothing_is_refused() {
    let refused = TestServer::start().call("my_plugin", json!({ "text": "" }));
    assert_eq!(refused.unwrap_err().code, "invalid-input");
}
