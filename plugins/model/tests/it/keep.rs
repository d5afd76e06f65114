//! What is kept, listed, told and deleted.

use std::fs;

use serde_json::json;

use crate::support::{Server, gguf};

#[tokio::test]
async fn models_are_listed_by_id_and_outlive_the_server() {
    let mut server = Server::start().await;
    let path = server.file("a.gguf", &gguf(100, 1));
    let second = server.import(&path, "second").await.unwrap();
    let first = server.import(&path, "first").await.unwrap();
    // What a killed server would leave of an import.
    fs::create_dir(server.models().join(".import-1")).unwrap();
    server.restart().await;
    let list = server.call("model_list", json!({})).await.unwrap();
    assert_eq!(list, json!([first, second]));
    assert_eq!(server.kept().len(), 2);
}

#[tokio::test]
async fn an_unknown_model_is_named_with_the_nearest_there_is() {
    let server = Server::start().await;
    server.import(&server.file("a.gguf", &gguf(100, 1)), "smollm2").await.unwrap();
    for operation in ["model_get", "model_delete", "locate"] {
        let problem = server.call(operation, json!({ "id": "SmolLM2" })).await.unwrap_err();
        assert_eq!((&*problem.code, problem.status), ("unknown-model", 404), "{problem}");
        let problem = server.call(operation, json!({ "id": "smolm2" })).await.unwrap_err();
        assert_eq!(problem.extensions["did_you_mean"], "smollm2");
        let problem = server.call(operation, json!({ "id": "../models" })).await.unwrap_err();
        assert_eq!(problem.code, "unknown-model", "{problem}");
    }
}

#[tokio::test]
async fn a_deleted_model_is_gone_and_its_source_is_not() {
    let server = Server::start().await;
    let path = server.file("a.gguf", &gguf(100, 1));
    server.import(&path, "a").await.unwrap();
    let deleted = server.call("model_delete", json!({ "id": "a" })).await.unwrap();
    assert_eq!(deleted, json!({ "id": "a" }));
    assert_eq!(server.call("model_list", json!({})).await.unwrap(), json!([]));
    assert!(server.kept().is_empty());
    assert!(path.exists());
}

#[tokio::test]
async fn other_operations_learn_where_a_model_is_and_clients_do_not() {
    let server = Server::start().await;
    let content = gguf(100, 1);
    server.import(&server.file("a.gguf", &content), "a").await.unwrap();
    let location = server.call("locate", json!({ "id": "a" })).await.unwrap();
    assert_eq!(fs::read(location["path"].as_str().unwrap()).unwrap(), content);
    assert_eq!(location["model"]["architecture"], "llama");
    assert!(server.router.operation("model_locate").is_err());
}

#[tokio::test]
async fn a_model_whose_file_changed_is_not_given_out() {
    let server = Server::start().await;
    let path = server.file("a.gguf", &gguf(100, 1));
    server.import(&path, "a").await.unwrap();
    fs::write(server.models().join("a/model.gguf"), "overwritten").unwrap();
    let problem = server.call("locate", json!({ "id": "a" })).await.unwrap_err();
    assert_eq!(problem.code, "damaged-model");
    assert!(!problem.detail.contains(server.models().to_str().unwrap()), "{problem}");
}

#[tokio::test]
async fn a_server_without_hives_knows_itself_alone() {
    let server = Server::start().await;
    let problem = server.call("model_list", json!({ "hive_id": "mars" })).await.unwrap_err();
    assert_eq!((&*problem.code, problem.status), ("unknown-hive", 404));
    assert!(problem.detail.contains("`mars`"), "{problem}");
    assert_eq!(
        server.call("model_list", json!({ "hive_id": "localhost" })).await.unwrap(),
        json!([])
    );
}
