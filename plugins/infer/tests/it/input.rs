//! What `infer` takes, and what it refuses before there is a job.

use serde_json::{Value, json};

use crate::workers::router;

/// The pointers of the errors in `input`.
async fn pointers(input: Value) -> Vec<String> {
    let problem = router().await.call("infer", input).await.unwrap_err();
    assert_eq!((&*problem.code, problem.status), ("invalid-input", 422), "{problem}");
    let errors = problem.extensions["errors"].as_array().unwrap();
    errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_prompt_or_messages_must_be_given() {
    assert_eq!(pointers(json!({ "model": "m" })).await, ["/prompt"]);
}

#[tokio::test]
async fn a_prompt_and_messages_must_not_both_be_given() {
    let messages = json!([{ "role": "user", "content": "Hi" }]);
    let both = json!({ "model": "m", "prompt": "Hi", "messages": messages });
    assert_eq!(pointers(both).await, ["/prompt"]);
}

#[tokio::test]
async fn null_is_neither() {
    for input in [json!({ "prompt": null }), json!({ "messages": null })] {
        let mut input = input;
        input["model"] = "m".into();
        let problem = router().await.call("infer", input).await.unwrap_err();
        assert_eq!(problem.code, "invalid-input");
        assert!(problem.detail.contains("exactly one of `prompt` and `messages`"), "{problem}");
    }
}

#[tokio::test]
async fn what_is_out_of_range_is_named() {
    let cases = [
        ("temperature", json!(-0.1)),
        ("temperature", json!(2.1)),
        ("top_p", json!(0)),
        ("top_p", json!(1.01)),
        ("top_k", json!(-1)),
        ("max_tokens", json!(0)),
        ("max_tokens", json!(1.5)),
        ("seed", json!(-1)),
        ("stop", json!("x")),
        ("device", json!("gpu")),
        ("hive_id", json!(7)),
        ("messages", json!("Hi")),
        ("promt", json!("Hi")),
    ];
    for (field, value) in cases {
        let mut input = json!({ "model": "m", "prompt": "Hi" });
        input[field] = value;
        let pointers = pointers(input).await;
        assert!(pointers.contains(&format!("/{field}")), "{field}: {pointers:?}");
    }
    let empty = json!({ "model": "m", "prompt": "Hi", "stop": ["."] , "messages": null });
    assert!(router().await.call("infer", empty).await.is_err());
    assert_eq!(pointers(json!({ "model": "m", "prompt": "Hi", "stop": [""] })).await, ["/stop/0"]);
    assert_eq!(pointers(json!({ "model": "m", "messages": [] })).await, ["/messages"]);
}

#[tokio::test]
async fn the_worker_is_asked_with_the_defaults_filled_in() {
    let input = json!({ "model": "m", "prompt": "Hi" });
    let result = router().await.call("infer", input).await.unwrap();
    let request: Value = serde_json::from_str(result["text"].as_str().unwrap()).unwrap();
    let expected = json!({
        "input": { "prompt": "Hi" }, "max_tokens": null, "temperature": 0.8, "top_p": 0.95,
        "top_k": 40, "seed": null, "stop": [],
    });
    assert_eq!(request, expected);
}

#[tokio::test]
async fn the_worker_is_asked_as_was_said() {
    let messages = json!([{ "role": "user", "content": "Hi" }]);
    let input = json!({
        "model": "m", "messages": messages, "max_tokens": 20, "temperature": 0.7, "top_p": 0.9,
        "top_k": 50, "seed": 1, "stop": ["\n"], "device": "cpu", "stream": true,
    });
    let result = router().await.call("infer", input).await.unwrap();
    let request: Value = serde_json::from_str(result["text"].as_str().unwrap()).unwrap();
    let expected = json!({
        "input": { "messages": messages }, "max_tokens": 20, "temperature": 0.7, "top_p": 0.9,
        "top_k": 50, "seed": 1, "stop": ["\n"],
    });
    assert_eq!(request, expected);
}
