//! Which store a server has, and what an operator does with it.

use std::process::Output;

use serde_json::{Value, json};

use crate::support::{Server, command, program, stderr, stdout};

/// Runs a command that reads the configuration `config`, in a directory of its own.
fn configured(arguments: &[&str], config: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("skep.toml"), config).unwrap();
    let listen = if arguments[0] == "serve" { &["--listen", "127.0.0.1:0"][..] } else { &[] };
    command(program()).args(arguments).args(listen).current_dir(directory.path()).output().unwrap()
}

#[tokio::test]
async fn the_store_is_chosen_by_its_name() {
    let mut server = Server::start(&["--store", "shelf"]);
    server.echo().await;
    server.signal("TERM");
    server.wait_for_line("stopped");
    assert!(server.logged("jobs are kept by the store `shelf`"));
}

#[tokio::test]
async fn a_store_that_fails_refuses_jobs_for_now() {
    let mut server = Server::configured("[plugins.shelf]\nfull = true", &["--store", "shelf"]);
    for path in ["/v1/jobs", "/v1/operations/echo"] {
        let body = match path {
            "/v1/jobs" => json!({ "operation": "echo", "value": 1 }),
            _ => json!({ "value": 1 }),
        };
        let refused = server.post(path, &body).await;
        assert_eq!(refused.status(), 503, "{path}");
        let after = refused.headers()["retry-after"].to_str().unwrap();
        assert!(after.parse::<u64>().unwrap() >= 1, "{path}: {after}");
        let problem: Value = refused.json().await.unwrap();
        assert_eq!(problem["code"], "store-unavailable", "{path}");
        // The store's own words are for the server's log.
        assert!(!problem.to_string().contains("Accept"), "{path}: {problem}");
        server.wait_for_line("Accept was made to fail");
    }
    assert_eq!(server.json("/v1/jobs").await["jobs"], json!([]));
}

#[test]
fn a_store_that_cannot_be_had_is_one_clear_line() {
    for (flags, config, says) in [
        (
            &["--store", "shlef"][..],
            "",
            "there is no store `shlef`, did you mean `shelf`?; this program has ",
        ),
        (&["--store", "nats://127.0.0.1:4222"], "", "there is no store `nats`; this program has "),
        (&["--store", "memory:x"], "", "the store `memory` has no address: `memory:x`"),
        (&["--store", ""], "", "there is no store ``"),
        (&[], "[server]\nstore = \"shlef\"", "did you mean `shelf`?"),
        (&[], "[server]\nstore = 1", "server.store"),
        (
            &["--store", "shelf"],
            "[plugins.shelf]\ndamage = \"the shelf is down\"",
            "store `shelf` (skep-server 0.1.0): the shelf is down",
        ),
        // Its table is checked, whether it's asked for or not.
        (
            &["--store", "memory"],
            "[plugins.shelf]\ndamage = 1",
            "`plugins.shelf.damage` 1 is not of types",
        ),
    ] {
        let served = configured(&[&["serve"][..], flags].concat(), config);
        let said = stderr(&served);
        assert_eq!(served.status.code(), Some(1), "{flags:?} {config}: {said}");
        let line = said.lines().find(|line| line.starts_with("skep: ")).unwrap();
        assert!(line.contains(says), "{flags:?} {config}: {said}");
        assert_eq!(said.lines().last(), Some(line), "{said}");
    }
}

#[test]
fn check_tells_what_it_looked_at_or_what_is_broken() {
    let sound = configured(&["store", "check", "--store", "shelf", "--data-dir", "d"], "");
    assert_eq!(sound.status.code(), Some(0), "{}", stderr(&sound));
    let said = stdout(&sound);
    assert!(said.starts_with("shelf: /") && said.ends_with("/d holds\n"), "{said}");

    let config = "[server]\nstore = \"shelf\"\n[plugins.shelf]\ndamage = \"one board is rotten\"";
    let broken = configured(&["store", "check"], config);
    assert_eq!(broken.status.code(), Some(1));
    assert!(stderr(&broken).contains("one board is rotten"), "{}", stderr(&broken));

    let memory = configured(&["store", "check", "--store", "memory"], "");
    assert_eq!(memory.status.code(), Some(0));
    assert!(stdout(&memory).contains("nothing to check"), "{}", stdout(&memory));
}

#[test]
fn backup_copies_into_a_directory_that_is_not_there_yet() {
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("copy");
    let backup =
        |store: &str| configured(&["store", "backup", to.to_str().unwrap(), "--store", store], "");
    let memory = backup("memory");
    assert_eq!(memory.status.code(), Some(1));
    assert!(stderr(&memory).contains("nothing to copy"), "{}", stderr(&memory));

    let copied = backup("shelf");
    assert_eq!(copied.status.code(), Some(0), "{}", stderr(&copied));
    assert!(to.is_dir());
    let again = backup("shelf");
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("is there already"), "{}", stderr(&again));
}
