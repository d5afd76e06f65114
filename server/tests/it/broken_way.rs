//! A cluster whose members lose each other: ways that break without a word, jobs that nobody waits for.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::cluster::{
    CONFIG, LONG, bystander, call, create, create_at, eventually, import, jobs, port_of, problem,
    queen, read_outputs, server, state, story, there,
};
use crate::support::Server;

/// The way to a server, which can break as it does when a machine loses its power: nothing comes any more,
/// and nobody says so.
struct Way {
    port: u16,
    state: watch::Sender<WayState>,
}

#[derive(Clone, Copy, Default)]
struct WayState {
    /// How often it has broken: connections of before are dead.
    breaks: u32,
    is_broken: bool,
}

impl Way {
    async fn to(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = watch::Sender::new(WayState::default());
        let (watched, far) = (state.clone(), server.address().to_owned());
        tokio::spawn(async move {
            let far: Arc<str> = far.into();
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(connect(near, far.clone(), watched.subscribe()));
            }
        });
        Self { port, state }
    }

    fn break_off(&self) {
        self.state.send_modify(|state| {
            state.breaks += 1;
            state.is_broken = true;
        });
    }

    /// New connections are taken; what was sent by former ones never comes.
    fn mend(&self) {
        self.state.send_modify(|state| state.is_broken = false);
    }
}

async fn connect(mut near: TcpStream, far: Arc<str>, mut state: watch::Receiver<WayState>) {
    let born = *state.borrow_and_update();
    let passes = async {
        let Ok(mut far) = TcpStream::connect(&*far).await else { return };
        let _ = copy_bidirectional(&mut near, &mut far).await;
    };
    tokio::select! {
        () = passes, if !born.is_broken => return,
        _ = state.wait_for(|now| now.breaks > born.breaks || born.is_broken) => {}
    }
    // Held open, and nothing comes by it.
    std::future::pending::<()>().await;
}

/// A queen, and the way to her one hive, which she calls `id`.
async fn pair(id: &str) -> (Server, Way, Server) {
    let hive = server();
    let way = Way::to(&hive).await;
    let queen = queen(&[]).await;
    create_at(&queen, id, way.port).await;
    (queen, way, hive)
}

#[tokio::test]
async fn a_hive_is_heard_again_when_the_way_to_it_has_broken_without_a_word() {
    let (queen, way, _hive) = pair("attic").await;
    way.break_off();
    eventually("it's offline", async || state(&queen, "attic").await == "offline").await;
    way.mend();
    eventually("it's online", async || state(&queen, "attic").await == "online").await;
    let echoed = call(&queen, "echo", json!({ "value": 1, "hive_id": "attic" })).await;
    assert_eq!(echoed["count"], 1);
}

#[tokio::test]
async fn a_job_that_has_failed_here_is_not_done_by_a_hive_that_comes_back() {
    let (queen, way, hive) = pair("attic").await;
    way.break_off();
    // It's ordered, and whether the order has come isn't known.
    let lost = problem(&queen, "echo", json!({ "value": 1, "hive_id": "attic" })).await;
    assert_eq!(lost["code"], "hive-lost", "{lost}");
    way.mend();
    eventually("it's online", async || state(&queen, "attic").await == "online").await;
    let job = there(&hive, "echo").await;
    let ended = hive.ended(&job).await;
    assert_eq!((&ended["state"], &ended["started_at"]), (&json!("cancelled"), &Value::Null));
    assert_eq!(jobs(&hive, "echo").await.len(), 1);
}

#[tokio::test]
async fn what_a_hive_that_died_does_anew_is_said_to_be() {
    let mut hive = server();
    // One who waits for long before she gives it up.
    let queen = Server::stock();
    create(&queen, "attic", &hive).await;
    let input = json!({ "value": 1, "count": 150, "interval_us": 20_000, "hive_id": "attic" });
    let id = queen.job("echo", input).await;
    read_outputs(&queen, &id, 10).await;
    hive.signal("KILL");
    hive.restart();
    assert_eq!(queen.ended(&id).await["state"], "succeeded");
    let log = queen.log(&id).await;
    assert!(log.contains("it's done anew there, as attempt 2"), "{log}");
}

#[tokio::test]
async fn what_a_hive_does_is_cancelled_when_the_way_to_it_is_changed() {
    let (queen, way, hive) = pair("gpu").await;
    import(&queen, json!({ "hive_id": "gpu" })).await;
    let id = queen.job("infer", story()).await;
    read_outputs(&queen, &id, 2).await;
    // The former way leads nowhere any more, so the other one is taken to tell the hive.
    way.break_off();
    call(&queen, "hive_update", json!({ "id": "gpu", "port": port_of(&hive) })).await;
    assert_eq!(queen.ended(&id).await["error"]["code"], "hive-lost");
    let job = there(&hive, "infer").await;
    assert_eq!(hive.ended(&job).await["state"], "cancelled");
}

#[tokio::test]
async fn what_a_client_waits_for_ends_with_a_queen_that_is_told_to_stop() {
    let hive = server();
    let mut queen = Server::stock_with(&format!("{CONFIG}\n[server]\ndrain = '100ms'"));
    create(&queen, "gpu", &hive).await;
    import(&queen, json!({ "hive_id": "gpu" })).await;
    let story = story();
    let asks = queen.post("/v1/operations/infer", &story);
    let job = tokio::select! {
        answer = asks => panic!("a story of {LONG} tokens is told by now: {answer:?}"),
        job = async {
            let job = there(&hive, "infer").await;
            read_outputs(&hive, &job, 2).await;
            queen.signal("TERM");
            job
        } => job,
    };
    queen.child.wait().unwrap();
    assert_eq!(hive.ended(&job).await["state"], "cancelled");
}

#[tokio::test]
async fn a_worker_that_tells_of_itself_does_not_wait_for_one_that_cannot_be_reached() {
    let server = server();
    let report = json!({ "url": bystander(), "model": "m" });
    let tell = async || {
        let answer = server.post("/v1/heartbeat", &report).await;
        assert_eq!(answer.status(), 200);
        answer.json::<Value>().await.unwrap()["worker_id"].clone()
    };
    let id = tell().await;
    // It takes connections, and never says anything.
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", deaf.local_addr().unwrap());
    let other = json!({ "url": url, "model": "other" });
    let mut asked = std::pin::pin!(server.post("/v1/heartbeat", &other));
    let _silent = tokio::select! {
        answer = &mut asked => panic!("a server that says nothing is attached: {answer:?}"),
        silent = deaf.accept() => silent.unwrap(),
    };
    let told = timeout(Duration::from_secs(5), tell()).await;
    assert_eq!(told.expect("it waits for the other one"), id);
}

/// A hive that a test has started on this machine.
struct Started<'a> {
    queen: &'a Server,
    id: &'static str,
}

impl Started<'_> {
    async fn start(&self) -> Value {
        call(self.queen, "hive_start", json!({ "hive_id": self.id })).await
    }

    /// The process of its server.
    fn pid(&self) -> String {
        let path = self.queen.home().join("skep/hives").join(self.id).join("pid");
        std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
    }
}

impl Drop for Started<'_> {
    fn drop(&mut self) {
        let pid = self.pid();
        if !pid.is_empty() {
            let _ = std::process::Command::new("kill").args(["-9", &pid]).status();
        }
    }
}

#[tokio::test]
async fn a_hive_that_is_started_twice_at_once_runs_once_and_can_be_stopped() {
    let queen = queen(&[]).await;
    call(&queen, "hive_create", json!({ "id": "here" })).await;
    let here = Started { queen: &queen, id: "here" };
    let (one, other) = tokio::join!(here.start(), here.start());
    assert_eq!((&one["state"], &other["state"]), (&json!("online"), &json!("online")));
    assert_eq!(one["port"], other["port"]);
    let pid = here.pid();
    // One of whom nobody has noted that it was started.
    call(&queen, "hive_delete", json!({ "id": "here", "force": true })).await;
    call(&queen, "hive_create", json!({ "id": "here" })).await;
    let again = here.start().await;
    assert_eq!((again["port"].clone(), here.pid()), (one["port"].clone(), pid));
    let stopped = call(&queen, "hive_stop", json!({ "hive_id": "here" })).await;
    assert_eq!(stopped["state"], "offline");
}
