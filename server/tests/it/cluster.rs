//! Several stock servers as one cluster: a queen, and hives that do what she has them do.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::stock::model;
use crate::support::{Frame, PATIENCE, Server, frames, stdout};

/// What is generated would take minutes, so whatever stops it early is seen to.
pub(crate) const LONG: u32 = 4000;

/// Servers that find out soon how others are.
pub(crate) const CONFIG: &str = "
    [plugins.hive]
    heartbeat = '100ms'
    late_after = '1s'
    offline_after = '3s'
";

pub(crate) fn server() -> Server {
    Server::stock_with(CONFIG)
}

/// A queen who has `hives` in her catalog, by these names.
pub(crate) async fn queen(hives: &[(&str, &Server)]) -> Server {
    let queen = server();
    for (id, hive) in hives {
        let created = create(&queen, id, hive).await;
        assert_eq!(created["state"], "online", "{created}");
    }
    queen
}

pub(crate) async fn create(queen: &Server, id: &str, hive: &Server) -> Value {
    create_at(queen, id, port_of(hive)).await
}

pub(crate) async fn create_at(queen: &Server, id: &str, port: u16) -> Value {
    call(queen, "hive_create", json!({ "id": id, "port": port })).await
}

pub(crate) fn port_of(server: &Server) -> u16 {
    server.address().rsplit_once(':').unwrap().1.parse().unwrap()
}

/// Runs an operation, which succeeds.
pub(crate) async fn call(server: &Server, operation: &str, input: Value) -> Value {
    let answer = server.post(&format!("/v1/operations/{operation}"), &input).await;
    let (status, body) = (answer.status(), answer.json().await.unwrap());
    assert_eq!(status, 200, "{operation}: {body}");
    body
}

/// Runs an operation, which fails: its problem.
pub(crate) async fn problem(server: &Server, operation: &str, input: Value) -> Value {
    let answer = server.post(&format!("/v1/operations/{operation}"), &input).await;
    assert!(!answer.status().is_success(), "{operation} has succeeded");
    answer.json().await.unwrap()
}

pub(crate) async fn import(server: &Server, input: Value) {
    let mut input = input;
    input["path"] = model().to_str().unwrap().into();
    input["id"] = "smollm2".into();
    call(server, "model_import", input).await;
}

pub(crate) fn story() -> Value {
    json!({ "model": "smollm2", "prompt": "Once upon a time", "max_tokens": LONG, "seed": 1 })
}

/// A server's jobs of an operation, the newest first.
pub(crate) async fn jobs(server: &Server, operation: &str) -> Vec<Value> {
    let listed = server.json(&format!("/v1/jobs?operation={operation}")).await;
    listed["jobs"].as_array().unwrap().clone()
}

fn outputs(log: &[Frame]) -> Vec<&str> {
    let output = log.iter().filter(|frame| frame.event == "message");
    output.map(|frame| frame.data.as_str()).collect()
}

/// The job's log up to its output number `count`.
pub(crate) async fn read_outputs(server: &Server, id: &str, count: usize) -> Vec<Frame> {
    let mut stream = server.stream(id, 0).await.bytes_stream();
    let mut text = String::new();
    while let Some(part) = stream.next().await {
        text += &String::from_utf8_lossy(&part.unwrap());
        let read = frames(&text);
        if outputs(&read).len() >= count {
            return read;
        }
    }
    panic!("the job ended before that: {text}");
}

/// Asks until it's so.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn state(queen: &Server, hive: &str) -> String {
    let hive = call(queen, "hive_get", json!({ "id": hive })).await;
    hive["state"].as_str().unwrap().to_owned()
}

/// The job on the hive that the queen has had it do, once it's there.
pub(crate) async fn there(hive: &Server, operation: &str) -> String {
    let mut id = None;
    eventually("the hive has the job", async || {
        let found = jobs(hive, operation).await.pop();
        id = found.map(|job| job["job_id"].as_str().unwrap().to_owned());
        id.is_some()
    })
    .await;
    id.unwrap()
}

#[tokio::test]
async fn a_job_is_done_by_the_hive_that_it_names_and_told_as_the_queens_own() {
    let hive = server();
    let queen = queen(&[("attic", &hive)]).await;
    let input = json!({ "value": { "a": [1, "é"] }, "count": 500, "hive_id": "attic" });
    let id = queen.job("echo", input.clone()).await;
    let log = frames(&queen.log(&id).await);
    assert!(log.iter().enumerate().all(|(at, frame)| frame.id == at as u64 + 1));
    assert_eq!(outputs(&log), vec!["{\"a\":[1,\"é\"]}"; 500]);
    let ended = queen.ended(&id).await;
    assert_eq!((&ended["result"], &ended["operation"]), (&json!({ "count": 500 }), &json!("echo")));
    assert_eq!(ended["input"], input);
    assert_eq!(jobs(&hive, "echo").await.len(), 1);
    // Whatever an operation can tell.
    let check = queen.job("check", json!({ "hive_id": "attic" })).await;
    let told: Vec<_> = frames(&queen.log(&check).await);
    let kinds: Vec<_> = told.iter().map(|frame| frame.event.as_str()).collect();
    assert_eq!(kinds, ["state", "message", "progress", "log", "progress", "end"]);
}

#[tokio::test]
async fn a_hive_that_is_not_there_is_named_before_there_is_a_job() {
    let hive = server();
    let queen = queen(&[("attic", &hive)]).await;
    let unknown = problem(&queen, "echo", json!({ "value": 1, "hive_id": "atic" })).await;
    assert_eq!(
        (&unknown["code"], &unknown["did_you_mean"]),
        (&json!("unknown-hive"), &json!("attic"))
    );
    assert_eq!(unknown["status"], 404);
    assert!(jobs(&queen, "echo").await.is_empty());
    // What the hive refuses is refused as it says it.
    let refused = problem(&queen, "model_get", json!({ "id": "none", "hive_id": "attic" })).await;
    assert_eq!(refused["code"], "unknown-model");
}

#[tokio::test]
async fn a_job_that_names_no_hive_goes_where_its_model_is() {
    let (one, two) = (server(), server());
    let queen = queen(&[("one", &one), ("two", &two)]).await;
    import(&queen, json!({ "hive_id": "two" })).await;
    // At once: the hive's next heartbeat isn't waited for.
    let input = json!({ "model": "smollm2", "prompt": "The capital of France is", "max_tokens": 8,
                        "temperature": 0 });
    let id = queen.job("infer", input.clone()).await;
    let log = frames(&queen.log(&id).await);
    let text: String = outputs(&log)
        .iter()
        .map(|data| {
            serde_json::from_str::<Value>(data).unwrap()["text"].as_str().unwrap().to_owned()
        })
        .collect();
    assert!(text.starts_with(" Paris"), "{text}");
    let placed = log.iter().find(|frame| frame.event == "log").unwrap();
    assert!(placed.data.contains("placed on `two`: the model is on its disk"), "{}", placed.data);
    assert_eq!(jobs(&two, "infer").await.len(), 1);
    assert!(jobs(&one, "infer").await.is_empty());
    // Its worker has a name of the queen's.
    let workers = call(&queen, "worker_list", json!({ "hive_id": "two" })).await;
    assert_eq!(workers[0]["hive_id"], "two");
    eventually("the worker is known", async || {
        let id = queen.job("infer", input.clone()).await;
        queen.log(&id).await.contains("placed on `two`: the model is loaded")
    })
    .await;
    // One that names the worker goes to it, one that names a model nobody has stays.
    let mut named = input.clone();
    named["worker_id"] = workers[0]["id"].clone();
    let id = queen.job("infer", named).await;
    assert!(queen.log(&id).await.contains("is there"));
    let none = problem(&queen, "infer", json!({ "model": "none", "prompt": "Hi" })).await;
    assert_eq!(none["code"], "unknown-model");
}

#[tokio::test]
async fn generation_ends_with_the_job_that_asked_for_it() {
    let hive = server();
    let queen = queen(&[("gpu", &hive)]).await;
    import(&queen, json!({ "hive_id": "gpu" })).await;
    let id = queen.job("infer", story()).await;
    read_outputs(&queen, &id, 2).await;
    assert_eq!(queen.cancel(&id).await.status(), 202);
    let job = there(&hive, "infer").await;
    assert_eq!(hive.ended(&job).await["state"], "cancelled");
    // A client that goes away.
    let long = story();
    let answer = queen.post("/v1/operations/infer", &long);
    let answered = tokio::time::timeout(Duration::from_secs(2), answer).await;
    assert!(answered.is_err(), "a story of {LONG} tokens took less than 2 s");
    eventually("both jobs are cancelled", async || {
        let jobs = jobs(&hive, "infer").await;
        jobs.len() == 2 && jobs.iter().all(|job| job["state"] == "cancelled")
    })
    .await;
    // One whose time is over.
    let late = queen.post_with("/v1/operations/infer", ("skep-timeout", "1s"), &story()).await;
    let late: Value = late.json().await.unwrap();
    assert_eq!(late["code"], "timeout", "{late}");
    eventually("the third has ended", async || {
        let jobs = jobs(&hive, "infer").await;
        jobs.len() == 3 && jobs.iter().all(|job| job["ended_at"].is_string())
    })
    .await;
}

#[tokio::test]
async fn a_queen_that_dies_in_mid_answer_goes_on_with_it_and_its_reader_too() {
    let hive = server();
    let mut queen = queen(&[("gpu", &hive)]).await;
    import(&queen, json!({ "hive_id": "gpu" })).await;
    let mut input = story();
    input["max_tokens"] = 120.into();
    let id = queen.job("infer", input).await;
    let read = read_outputs(&queen, &id, 5).await;
    let last = read.last().unwrap().id;
    queen.signal("KILL");
    queen.restart();
    let rest = queen.stream(&id, last).await.text().await.unwrap();
    let rest = frames(&rest);
    assert!(rest.is_sorted_by_key(|frame| frame.id) && rest[0].id > last);
    let end: Value = serde_json::from_str(&rest.last().unwrap().data).unwrap();
    assert_eq!(end["state"], "succeeded", "{end}");
    let text = end["result"]["text"].as_str().unwrap();
    let piece = |data: &&str| {
        serde_json::from_str::<Value>(data).unwrap()["text"].as_str().unwrap().to_owned()
    };
    let tail: String = outputs(&rest).iter().map(piece).collect();
    assert!(text.ends_with(&tail), "{tail:?} isn't the end of {text:?}");
    // What is kept has each token once.
    let whole = frames(&queen.log(&id).await);
    assert_eq!(outputs(&whole).iter().map(piece).collect::<String>(), text);
    // The hive never noticed.
    let jobs = jobs(&hive, "infer").await;
    assert_eq!((jobs.len(), &jobs[0]["attempt"]), (1, &json!(1)));
}

#[tokio::test]
async fn generation_ends_when_the_queen_dies_of_whom_a_client_waited_for_it() {
    let hive = server();
    let mut queen = queen(&[("gpu", &hive)]).await;
    import(&queen, json!({ "hive_id": "gpu" })).await;
    let story = story();
    let asks = queen.post("/v1/operations/infer", &story);
    let job = tokio::select! {
        answer = asks => panic!("a story of {LONG} tokens is told by now: {answer:?}"),
        job = async {
            let job = there(&hive, "infer").await;
            read_outputs(&hive, &job, 2).await;
            job
        } => job,
    };
    queen.signal("KILL");
    queen.restart();
    assert_eq!(hive.ended(&job).await["state"], "cancelled");
    assert_eq!(jobs(&hive, "infer").await.len(), 1);
}

#[tokio::test]
async fn a_hive_that_dies_in_mid_answer_is_named() {
    let mut hive = server();
    let queen = queen(&[("gpu", &hive)]).await;
    import(&queen, json!({ "hive_id": "gpu" })).await;
    let id = queen.job("infer", story()).await;
    read_outputs(&queen, &id, 3).await;
    hive.child.kill().unwrap();
    let ended = queen.ended(&id).await;
    assert_eq!(ended["state"], "failed");
    assert_eq!(
        (&ended["error"]["code"], &ended["error"]["hive_id"]),
        (&json!("hive-lost"), &json!("gpu"))
    );
    let detail = ended["error"]["detail"].as_str().unwrap();
    assert!(detail.contains("hive `gpu` was lost after "), "{detail}");
}

#[tokio::test]
async fn a_hive_that_hangs_is_late_then_offline_and_what_has_told_nothing_moves() {
    let (hung, other) = (server(), server());
    let queen = queen(&[("hung", &hung), ("other", &other)]).await;
    for hive in ["hung", "other"] {
        import(&queen, json!({ "hive_id": hive })).await;
    }
    // The model is loaded there, so that is where the job goes.
    call(&queen, "worker_spawn", json!({ "model": "smollm2", "hive_id": "hung" })).await;
    eventually("the worker is known", async || {
        let status = call(&queen, "hive_status", json!({ "hive_id": "hung" })).await;
        status["heartbeat"]["workers"][0]["state"] == "idle"
    })
    .await;
    let mut news = queen.fetch("/v1/heartbeats/stream").await.bytes_stream();
    hung.signal("STOP");
    let input = json!({ "model": "smollm2", "prompt": "Hi", "max_tokens": 4 });
    let id = queen.job("infer", input.clone()).await;
    let mut states = Vec::new();
    let mut text = String::new();
    while states.last().is_none_or(|state| state != "offline") {
        text += &String::from_utf8_lossy(&news.next().await.unwrap().unwrap());
        let told = frames(&text);
        let told = told.iter().map(|frame| serde_json::from_str::<Value>(&frame.data).unwrap());
        states = told
            .filter(|told| told["hive_id"] == "hung")
            .map(|told| told["state"].as_str().unwrap().to_owned())
            .collect();
        states.dedup();
    }
    assert_eq!(states, ["online", "late", "offline"]);
    let log = queen.log(&id).await;
    assert!(
        log.contains("placed on `hung`") && log.contains("hive `hung` was lost before"),
        "{log}"
    );
    let ended = queen.ended(&id).await;
    assert_eq!((&ended["state"], &ended["attempt"]), (&json!("succeeded"), &json!(2)), "{ended}");
    // From now on it's avoided.
    let id = queen.job("infer", input).await;
    let log = queen.log(&id).await;
    assert!(!log.contains("placed on `hung`") && log.contains("succeeded"), "{log}");
    let named = problem(&queen, "echo", json!({ "value": 1, "hive_id": "hung" })).await;
    assert_eq!(named["code"], "hive-offline");
    // When it's back, it has nothing to do that nobody waits for.
    hung.signal("CONT");
    eventually("it's online", async || state(&queen, "hung").await == "online").await;
    eventually("it has nothing to do", async || {
        let mut all = jobs(&hung, "infer").await;
        all.extend(jobs(&hung, "echo").await);
        all.iter().all(|job| job["ended_at"].is_string())
    })
    .await;
}

#[tokio::test]
async fn servers_that_lead_to_each_other_end_in_an_error() {
    let (one, two) = (server(), server());
    create(&one, "two", &two).await;
    create(&two, "one", &one).await;
    create(&one, "self", &one).await;
    // Each does what it's asked for, and hands nothing on.
    for hive in ["two", "self"] {
        let echoed = call(&one, "echo", json!({ "value": 1, "hive_id": hive })).await;
        assert_eq!(echoed["count"], 1, "{hive}");
    }
    let input = json!({ "value": 1, "hive_id": "two" });
    let refused = one.post_with("/v1/jobs", ("skep-hops", "9"), &input).await;
    assert_eq!(refused.status(), 422, "it has no operation");
    let input = json!({ "operation": "echo", "value": 1, "hive_id": "two" });
    let refused = one.post_with("/v1/jobs", ("skep-hops", "9"), &input).await;
    assert_eq!(refused.status(), 508);
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "relay-loop");
    let last = one.post_with("/v1/jobs", ("skep-hops", "8"), &input).await;
    assert_eq!(last.status(), 201);
    let id = last.json::<Value>().await.unwrap()["job_id"].as_str().unwrap().to_owned();
    assert_eq!(one.ended(&id).await["error"]["code"], "relay-loop");
}

/// The URL of a server that says that it has the model `m`, and does nothing.
pub(crate) fn bystander() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut connection in listener.incoming().map_while(Result::ok) {
            let _ = connection.read(&mut [0; 4096]);
            let body = "{\"data\":[{\"id\":\"m\"}]}";
            let length = body.len();
            let _ = write!(
                connection,
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            );
        }
    });
    url
}

#[tokio::test]
async fn a_worker_that_tells_of_itself_is_there_until_it_is_silent() {
    let server = server();
    let report = json!({ "url": bystander(), "model": "story", "remote_model": "m" });
    let tell = async || {
        let answer = server.post("/v1/heartbeat", &report).await;
        assert_eq!(answer.status(), 200);
        answer.json::<Value>().await.unwrap()
    };
    let first = tell().await;
    assert_eq!(first["again_after"], 0.1);
    assert_eq!(tell().await, first);
    let workers = call(&server, "worker_list", json!({})).await;
    assert_eq!((&workers[0]["id"], &workers[0]["model"]), (&first["worker_id"], &json!("story")));
    assert_eq!(workers.as_array().unwrap().len(), 1);
    eventually("it's forgotten", async || {
        call(&server, "worker_list", json!({})).await == json!([])
    })
    .await;
    assert_ne!(tell().await["worker_id"], first["worker_id"]);
    let mut wrong = report.clone();
    wrong["remote_model"] = "other".into();
    let refused = server.post("/v1/heartbeat", &wrong).await;
    assert_eq!(refused.status(), 404);
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "unknown-model");
    let nonsense = server.post("/v1/heartbeat", &json!({ "model": "m" })).await;
    assert_eq!(nonsense.json::<Value>().await.unwrap()["code"], "invalid-input");
}

/// The tree is of what is known: nobody is waited for.
#[tokio::test]
async fn the_status_of_all_is_told_though_one_of_them_is_dead() {
    let (one, two, mut dead) = (server(), server(), server());
    let queen = queen(&[("one", &one), ("two", &two), ("dead", &dead)]).await;
    dead.child.kill().unwrap();
    eventually("it's offline", async || state(&queen, "dead").await == "offline").await;
    let status = call(&queen, "status", json!({})).await;
    let hives = status["hives"].as_array().unwrap();
    let told: Vec<_> = hives
        .iter()
        .map(|hive| (hive["id"].as_str().unwrap(), hive["state"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [("localhost", "online"), ("dead", "offline"), ("one", "online"), ("two", "online")]
    );
    assert!(hives[1]["failure"].is_string() && hives[2]["capacity"]["cores"].is_u64(), "{status}");
    let shown = stdout(&queen.skep(&["status"]));
    assert!(
        shown.contains("\ndead       offline, it ") && shown.contains("\none        online, "),
        "{shown}"
    );
}

#[tokio::test]
async fn the_catalog_outlives_the_queen_and_says_what_is_wrong() {
    let hive = server();
    let mut queen = queen(&[("attic", &hive)]).await;
    let exists = problem(&queen, "hive_create", json!({ "id": "attic" })).await;
    assert_eq!((&exists["code"], &exists["status"]), (&json!("hive-exists"), &json!(409)));
    for id in ["localhost", "A", "../x", ""] {
        let invalid = problem(&queen, "hive_create", json!({ "id": id })).await;
        assert_eq!(
            (&invalid["code"], &invalid["status"]),
            (&json!("invalid-id"), &json!(422)),
            "{id}"
        );
    }
    let moved = json!({ "id": "attic", "port": 9 });
    assert_eq!(call(&queen, "hive_update", moved).await["state"], "offline");
    queen.signal("TERM");
    queen.restart();
    let hives = call(&queen, "hive_list", json!({})).await;
    assert_eq!(
        (&hives[0]["id"], &hives[1]["id"], &hives[1]["port"]),
        (&json!("localhost"), &json!("attic"), &json!(9))
    );
    let checked = call(&queen, "hive_check", json!({ "hive_id": "attic" })).await;
    let layers: Vec<_> = checked["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| (&layer["name"], &layer["ok"]))
        .collect();
    assert_eq!(layers, [(&json!("resolve"), &json!(true)), (&json!("connect"), &json!(false))]);
    call(&queen, "hive_delete", json!({ "id": "attic" })).await;
    assert_eq!(problem(&queen, "hive_get", json!({ "id": "attic" })).await["code"], "unknown-hive");
    for operation in ["hive_delete", "hive_update"] {
        assert_eq!(
            problem(&queen, operation, json!({ "id": "localhost" })).await["code"],
            "invalid-id"
        );
    }
}
