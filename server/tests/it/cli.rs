//! The command line.

use std::process::Stdio;

use crate::support::{PATIENCE, Server, command, program, stderr, stdout};

#[test]
fn run_prints_output_and_exits_zero_only_for_success() {
    let server = Server::start(&[]);
    let echoed = server.skep(&["run", "echo", "value=hi", "count=2"]);
    assert_eq!((echoed.status.code(), stdout(&echoed).as_str()), (Some(0), "hi\nhi\n"));
    let json = server.skep(&["run", "echo", r#"{"value": {"a": 1}}"#, "--json"]);
    let events: Vec<serde_json::Value> =
        stdout(&json).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["state", "message", "end"]);

    let failed = server.skep(&["run", "panic_late"]);
    assert_eq!((failed.status.code(), stdout(&failed).as_str()), (Some(1), "before\n"));
    assert!(stderr(&failed).contains("(panic)"), "{}", stderr(&failed));

    for (arguments, says) in [
        (&["run", "ehco"][..], "did you mean `echo`?"),
        (&["run", "echo", "valeu=1"], "did you mean `value`?"),
        (&["run", "echo", "value"], "neither field=value nor a JSON object"),
    ] {
        let refused = server.skep(arguments);
        assert_eq!(refused.status.code(), Some(1));
        assert!(stderr(&refused).contains(says), "{}", stderr(&refused));
    }
}

#[test]
fn ctrl_c_cancels_the_job() {
    let server = Server::start(&[]);
    let (mut run, out) = server.run(&["echo", "value=x", "count=1000000", "interval_us=1000"]);
    let lines = std::io::BufRead::lines(out);
    let pid = run.id().to_string();
    assert!(
        std::process::Command::new("kill").args(["-s", "INT", &pid]).status().unwrap().success()
    );
    let last = lines.map_while(Result::ok).last().unwrap();
    assert!(last.contains("cancelled"), "{last}");
    assert_eq!(run.wait().unwrap().code(), Some(130));
}

#[test]
fn the_second_ctrl_c_is_heard_though_the_server_does_not_answer() {
    let server = Server::start(&[]);
    let (mut run, out) = server.run(&["echo", "value=x", "count=1000000", "interval_us=1000"]);
    let lines = std::io::BufRead::lines(out);
    server.signal("STOP");
    std::thread::spawn(move || lines.for_each(drop));
    let (pid, begun) = (run.id().to_string(), std::time::Instant::now());
    // The first cancels the job. Signals that come too soon after one another are one.
    let ended = loop {
        if let Some(ended) = run.try_wait().unwrap() {
            break ended;
        }
        assert!(begun.elapsed() < PATIENCE, "it goes on");
        std::process::Command::new("kill").args(["-s", "INT", &pid]).status().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert_eq!(ended.code(), Some(130));
}

#[test]
fn operations_are_listed_and_shown() {
    let server = Server::start(&[]);
    let list = stdout(&server.skep(&["operations"]));
    assert!(list.lines().any(|line| line.starts_with("echo ")), "{list}");
    let echo = stdout(&server.skep(&["operations", "echo"]));
    assert!(echo.contains("count  ") || echo.contains("count "), "{echo}");
    assert!(echo.contains("default 1"), "{echo}");
}

#[test]
fn plugins_are_listed_without_a_server() {
    let listed = command(program()).arg("plugins").output().unwrap();
    let text = stdout(&listed);
    assert!(text.contains("fragile (skep-server "), "{text}");
    assert!(text.contains("skep-system (skep-system "), "{text}");
    assert!(text.contains("  panic_early\n"), "{text}");
}

#[test]
fn a_command_without_a_server_says_what_to_do() {
    // Port 9 (discard) of this machine: nobody listens there.
    let run = command(program()).args(["operations", "--server", "http://127.0.0.1:9"]).output();
    let run = run.unwrap();
    assert_eq!(run.status.code(), Some(1));
    assert!(stderr(&run).contains("skep serve"), "{}", stderr(&run));
}

#[test]
fn a_reader_that_goes_away_ends_a_command_without_a_word() {
    let server = Server::start(&[]);
    server.skep(&["run", "echo", "value=1"]);
    for arguments in [
        &["jobs"][..],
        &["jobs", "--json"],
        &["operations"],
        &["operations", "echo"],
        &["plugins"],
        &["run", "echo", "value=1"],
        &["run", "echo", "value=1", "--detach"],
        &["store", "check", "--store", "memory"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut skep = command(program());
        let skep = skep.args(arguments).env("SKEP_URL", &server.url).stdout(writer);
        let ended = skep.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        assert_eq!(
            (ended.status.code(), stderr(&ended).as_str()),
            (Some(141), ""),
            "{arguments:?}"
        );
    }
}

#[test]
fn an_error_is_told_with_its_cause() {
    // Takes connections and hangs up.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let listed = command(program()).args(["jobs", "--server", &url]).output().unwrap();
    assert_eq!(listed.status.code(), Some(1));
    let said = stderr(&listed);
    let (_, cause) = said.split_once("error sending request for url (").unwrap();
    assert!(
        cause.split_once("): ").is_some_and(|(_, cause)| cause.contains("connection")),
        "{said}"
    );
}

#[test]
fn a_configuration_that_cannot_be_meant_is_refused_with_a_suggestion() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("skep.toml");
    for (config, flags, says) in [
        (
            "[server]\nlisten_on = 1",
            &[][..],
            "skep.toml: `server.listen_on` is not a key of the configuration",
        ),
        ("[server]\nlissten = \"127.0.0.1:0\"", &[], "did you mean `listen`?"),
        ("[jobs]\nmax_runing = 1", &[], "did you mean `max_running`?"),
        ("[jobs]\ncancel_grace = \"soon\"", &[], "`soon` is not a duration"),
        ("[servre]\n", &[], "did you mean `server`?"),
        ("[plugins.fragle]\n", &[], "did you mean `fragile`?"),
        ("[plugins.shlef]\n", &[], "did you mean `shelf`?"),
        (
            "[plugins.shelf]\ndamge = \"x\"",
            &[],
            "`plugins.shelf.damge` is not a key of the configuration, did you mean `damage`?",
        ),
        ("[plugins.memory]\nsize = 1", &[], "`plugins.memory.size` is not a key"),
        (
            "[plugins.fragile]\nil = \"x\"",
            &[],
            "`plugins.fragile.il` is not a key of the configuration, did you mean `ill`?",
        ),
        ("[server]\nlisten = \"here\"", &["--insecure"], "`server.listen`: `here` is no address"),
        (
            "[server]\ncaller_header = \"a b\"",
            &[],
            "`server.caller_header`: it's no name of a header",
        ),
        ("[operations]\ndeny = [\"ecko\"]", &[], "is called `ecko`, did you mean `echo`?"),
        ("[plugins.fragile]\nbroken = \"no disk\"", &[], "plugin `fragile` (skep-server "),
        ("", &["--listen", "0.0.0.0:0"], "--insecure"),
    ] {
        std::fs::write(&file, config).unwrap();
        let mut serve = command(program());
        serve.args(["serve", "--config"]).arg(&file).arg("--data-dir").arg(directory.path());
        let flags = if flags.is_empty() { &["--listen", "127.0.0.1:0"] } else { flags };
        let served = serve.args(flags).output().unwrap();
        assert_eq!(served.status.code(), Some(1), "{config}");
        assert!(stderr(&served).contains(says), "{config}: {}", stderr(&served));
    }
}

#[test]
fn all_that_is_wrong_with_a_configuration_is_told_at_once_and_where() {
    let directory = tempfile::tempdir().unwrap();
    let config = "[server]\nmax_body = \"much\"\ndrian = 1\n[jobs]\nretention = \"soon\"\n\
                  max_log = \"1 heap\"\n[plugins.fragile]\nil = 1\n[plugins.shlef]\n";
    std::fs::write(directory.path().join("skep.toml"), config).unwrap();
    let mut check = command(program());
    check.args(["config", "check", "--listen", "127.0.0.1:0"]).current_dir(directory.path());
    let checked = check.env("SKEP_JOBS__MAX_RUNNING", "none").output().unwrap();
    assert_eq!(checked.status.code(), Some(1));
    let said = stderr(&checked);
    let mut lines: Vec<_> = said.trim_end().trim_start_matches("skep: ").lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "SKEP_JOBS__MAX_RUNNING: `jobs.max_running` \"none\" is not of type \"integer\"",
            "skep.toml: `jobs.max_log` `1 heap` is not a size such as `64MiB`",
            "skep.toml: `jobs.retention` `soon` is not a duration such as `30s` or `1m 30s`",
            "skep.toml: `plugins.fragile.il` is not a key of the configuration, did you mean `ill`?",
            "skep.toml: `plugins.shlef` configures a plugin that is not linked, did you mean \
             `shelf`?",
            "skep.toml: `server.drian` is not a key of the configuration, did you mean `drain`?",
            "skep.toml: `server.max_body` \"much\" is not of type \"integer\"",
        ]
    );
}

#[test]
fn what_a_server_would_run_with_is_shown_and_where_it_comes_from() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("skep.toml");
    std::fs::write(&file, "[jobs]\nmax_log = \"1GiB\"\n[plugins.fragile]\nill = \"a bit\"")
        .unwrap();
    let mut show = command(program());
    show.args(["config", "show", "--insecure", "--config"]).arg(&file);
    let shown = show.env("SKEP_SERVER__HOSTS", "[a, b]").output().unwrap();
    let shown = stdout(&shown);
    let file = file.display();
    for line in [
        "[server]",
        "listen = \"127.0.0.1:7833\"  # default",
        "insecure = true  # --insecure",
        "hosts = [\"a\", \"b\"]  # SKEP_SERVER__HOSTS",
        "# store = (not set)",
        "request_timeout = \"30s\"  # default",
        &format!("max_log = \"1GiB\"  # {file}"),
        "max_kept = 1000000  # default",
        "[plugins.fragile]",
        "enabled = true  # default",
        &format!("ill = \"a bit\"  # {file}"),
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is not in\n{shown}");
    }
    // It's a configuration itself.
    let again = directory.path().join("again.toml");
    std::fs::write(&again, &shown).unwrap();
    let checked = command(program()).args(["config", "check", "--config"]).arg(&again).output();
    assert_eq!(stdout(&checked.unwrap()), "the configuration is right\n");
}

#[test]
fn the_schema_of_the_configuration_is_one_and_has_every_plugin() {
    let printed = command(program()).args(["config", "schema"]).output().unwrap();
    let schema: serde_json::Value = serde_json::from_str(&stdout(&printed)).unwrap();
    let plugins = schema["properties"]["plugins"]["properties"].as_object().unwrap();
    let names: Vec<_> = plugins.keys().collect();
    assert_eq!(names, ["fragile", "memory", "shelf", "sqlite"]);
    let drain = &schema["properties"]["server"]["properties"]["drain"];
    assert_eq!((&drain["type"], &drain["default"]), (&"string".into(), &"30s".into()));
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("skep.toml");
    std::fs::write(&file, "[server]\nlisten = \"0.0.0.0:0\"").unwrap();
    // Each of the refusals names the address that counted.
    let mut serve = command(program());
    let refused = serve.args(["serve", "--config"]).arg(&file).output().unwrap();
    assert!(stderr(&refused).contains("0.0.0.0:0"), "{}", stderr(&refused));
    let refused = serve.env("SKEP_SERVER__LISTEN", "0.0.0.0:1").output().unwrap();
    assert!(stderr(&refused).contains("0.0.0.0:1"), "{}", stderr(&refused));
    let refused = serve.args(["--listen", "0.0.0.0:2"]).output().unwrap();
    assert!(stderr(&refused).contains("0.0.0.0:2"), "{}", stderr(&refused));
}

#[test]
fn the_log_can_be_json() {
    // `start` reads the URL out of the line; that it's JSON is seen here.
    let mut server = Server::start(&["--log-format", "json"]);
    server.signal("TERM");
    let line = server.wait_for_line("stopped");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["fields"]["message"], "stopped");
}

#[test]
fn what_people_read_stays_as_it_is() {
    let server = Server::start(&[]);
    for (name, arguments) in [
        ("help", &["--help"][..]),
        ("help_serve", &["serve", "--help"]),
        ("help_run", &["run", "--help"]),
        ("help_jobs", &["jobs", "--help"]),
        ("help_jobs_watch", &["jobs", "watch", "--help"]),
        ("help_store", &["store", "--help"]),
        ("help_store_backup", &["store", "backup", "--help"]),
        ("operations", &["operations"]),
        ("operation", &["operations", "echo"]),
        ("spec", &["operations", "echo", "--json"]),
        ("plugins", &["plugins"]),
        ("refusal", &["run", "echo", "valeu=1", "count=-1"]),
    ] {
        let output = server.skep(arguments);
        let text = [stdout(&output), stderr(&output)].concat();
        insta::assert_snapshot!(name, text.replace(&server.url, "http://SERVER"));
    }
}
