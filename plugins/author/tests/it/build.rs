//! `skep build`.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::tempdir;

use crate::registry::Registry;
use crate::support::{
    WITHOUT_ENGINE, build, by_path, cargo, operation, run, skep, write_crate, write_plugin,
};

/// The crates of a server's plugins, with their versions, as the server tells them.
fn plugins(program: &Path) -> Vec<(String, String)> {
    let told = run(Command::new(program).args(["plugins", "--json"])).stdout();
    let rows: Vec<Value> = serde_json::from_str(&told).unwrap();
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    rows.iter().map(|row| (text(row, "crate"), text(row, "version"))).collect()
}

fn has(program: &Path, name: &str, version: &str) -> bool {
    plugins(program).contains(&(name.to_owned(), version.to_owned()))
}

#[test]
fn a_plugin_by_path_and_one_by_version_are_in_a_server_built_in_an_empty_directory() {
    let elsewhere = tempdir().unwrap();
    let shout = write_plugin(elsewhere.path(), "shout");
    let registry = Registry::new(elsewhere.path().join("registry"));
    registry.publish(("whisper", "0.3.0"), "0.1");
    let empty = tempdir().unwrap();

    let mut command = skep(empty.path());
    command.args(["build", "--with", &by_path("shout", &shout), "--with", "whisper@0.3"]);
    command.args(["--registry", "local"]).args(WITHOUT_ENGINE);
    let told = build(registry.tell(&mut command)).stdout();

    let server = empty.path().join("skep");
    assert!(has(&server, "shout", "0.1.0") && has(&server, "whisper", "0.3.0"));
    assert!(has(&server, "skep-sqlite", env!("CARGO_PKG_VERSION")));
    assert!(told.contains("whisper 0.3.0") && told.contains("shout 0.1.0"), "{told}");

    // The crate is kept for Cargo's tools. Without the worker it has none of the engine.
    let kept = empty.path().join("target/skep-build");
    let tree = |arguments: &[&str], directory: &Path| {
        let mut cargo = cargo(directory);
        cargo.args(["tree", "--prefix", "none", "--edges", "normal"]).args(arguments);
        run(registry.tell(&mut cargo)).stdout()
    };
    let built = tree(&[], &kept);
    assert!(built.contains("whisper v0.3.0") && built.contains("skep-infer"), "{built}");
    assert!(!built.contains("candle") && !built.contains("skep-engine"), "{built}");
    let worker = tree(&["-p", "skep-worker"], Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(worker.contains("candle"), "what is looked for is called otherwise: {worker}");
}

#[test]
fn a_manifests_versions_are_kept_until_its_lock_file_goes() {
    let place = tempdir().unwrap();
    let registry = Registry::new(place.path().join("registry"));
    registry.publish(("murmur", "0.3.0"), "0.1");
    let plugin = r#"{ name = "murmur", version = "0.3", registry = "local" }"#;
    let manifest = |rest: &str| {
        format!("with = [{plugin}]\nwithout = [\"worker\"]\noutput = \"bin/it\"\n{rest}")
    };
    fs::write(place.path().join("skep-build.toml"), manifest("")).unwrap();
    let built = |arguments: &[&str]| {
        let mut command = skep(place.path());
        build(registry.tell(&mut command).arg("build").args(arguments))
    };
    let server = place.path().join("bin/it");

    let refused = built(&["--locked"]).refusal();
    assert!(refused.contains("there is no") && refused.contains("skep-build.lock"), "{refused}");
    built(&[]).stdout();
    assert!(has(&server, "murmur", "0.3.0"));

    registry.publish(("murmur", "0.3.1"), "0.1");
    fs::remove_dir_all(place.path().join("target")).unwrap();
    built(&["--locked"]).stdout();
    assert!(has(&server, "murmur", "0.3.0"), "the lock file has this version");

    fs::write(place.path().join("skep-build.toml"), manifest("").replace("0.3", "0.3.1")).unwrap();
    let refused = built(&["--locked"]).refusal();
    assert!(refused.contains("the lock file doesn't fit"), "{refused}");
    assert!(has(&server, "murmur", "0.3.0"), "a failure leaves the last server");

    fs::remove_file(place.path().join("skep-build.lock")).unwrap();
    built(&[]).stdout();
    assert!(has(&server, "murmur", "0.3.1"));
    built(&["--locked"]).stdout();
}

#[test]
fn a_plugin_that_does_not_compile_is_named_after_the_compilers_words() {
    let place = tempdir().unwrap();
    let source = operation("hoarse").replace("to_owned()", "to_shout()");
    let hoarse = write_crate(place.path(), ("hoarse", "0.1.0"), "skep = \"0.1\"", &source);
    let mut command = skep(place.path());
    command.args(["build", "--with", &by_path("hoarse", &hoarse)]).args(WITHOUT_ENGINE);
    let refused = build(&mut command).refusal();
    let words = refused.find("no method named `to_shout` found");
    let named = format!("plugin `hoarse` ({}) does not compile", hoarse.display());
    let named = refused.find(&named);
    assert!(words.is_some() && words < named, "{refused}");
    assert!(!place.path().join("skep").exists());
}

#[test]
fn a_crate_that_does_not_compile_is_told_with_the_plugin_that_needs_it() {
    let place = tempdir().unwrap();
    write_crate(place.path(), ("throat", "0.2.0"), "", "compile_error!(\"sore\");");
    let needs = "skep = \"0.1\"\nthroat = { path = \"../throat\" }";
    let croak = write_crate(place.path(), ("croak", "0.1.0"), needs, &operation("croak"));
    let mut command = skep(place.path());
    command.args(["build", "--with", &by_path("croak", &croak)]).args(WITHOUT_ENGINE);
    let refused = build(&mut command).refusal();
    assert!(refused.contains("error: sore"), "{refused}");
    let told = refused.lines().last().unwrap();
    assert!(told.starts_with("skep: plugin `croak`") && told.contains("throat 0.2.0"), "{told}");
}

#[test]
fn a_crate_that_registers_nothing_is_no_plugin() {
    let place = tempdir().unwrap();
    let mute = write_crate(place.path(), ("mute", "0.1.0"), "", "//! Nothing.");
    let mut command = skep(place.path());
    command.args(["build", "--with", &by_path("mute", &mute)]).args(WITHOUT_ENGINE);
    let refused = build(&mut command).refusal();
    assert!(
        refused.contains("plugin `mute`") && refused.contains("registers nothing"),
        "{refused}"
    );
    assert!(!place.path().join("skep").exists(), "what isn't proven isn't handed over");
}

#[test]
fn two_plugins_with_one_operation_are_told_before_the_server_is_handed_over() {
    let place = tempdir().unwrap();
    let cave = write_crate(place.path(), ("cave", "0.1.0"), "skep = \"0.1\"", &operation("echo"));
    let mut command = skep(place.path());
    command.args(["build", "--with", &by_path("cave", &cave)]).args(WITHOUT_ENGINE);
    let refused = build(&mut command).refusal();
    let told = refused.lines().last().unwrap();
    assert!(told.contains("both register the operation `echo`"), "{refused}");
    assert!(told.contains("cave") && told.contains("skep-system"), "{refused}");
    assert!(!place.path().join("skep").exists());
}

#[test]
fn a_crate_without_a_library_is_no_plugin() {
    let place = tempdir().unwrap();
    let tool = write_crate(place.path(), ("tool", "0.1.0"), "", "fn main() {}");
    fs::rename(tool.join("src/lib.rs"), tool.join("src/main.rs")).unwrap();
    let mut command = skep(place.path());
    command.args(["build", "--with", &by_path("tool", &tool)]);
    let refused = build(&mut command).refusal();
    assert!(refused.contains("`tool` is no plugin: it has no library"), "{refused}");
}

#[test]
fn a_machine_without_a_toolchain_is_told_what_to_install() {
    let place = tempdir().unwrap();
    let shout = write_plugin(place.path(), "shout");
    let mut command = skep(place.path());
    command.args(["build", "--with", &by_path("shout", &shout)]).env("PATH", "");
    let refused = build(&mut command).refusal();
    assert_eq!(refused.lines().count(), 1, "{refused}");
    assert!(refused.starts_with("skep: there is no Rust toolchain here"), "{refused}");
}

#[test]
fn what_is_asked_for_wrongly_is_refused_before_anything_is_built() {
    let place = tempdir().unwrap();
    fs::create_dir(place.path().join("here")).unwrap();
    write_plugin(place.path(), "shout");
    for (arguments, told) in [
        (vec![], "name a plugin by `--with`, or write a skep-build.toml"),
        (vec!["--with", "shout=nowhere"], "plugin `shout`: can't read"),
        (vec!["--with", "shut=shout"], "is called `shout`"),
        (vec!["--with", "sh out"], "`sh out` is no crate's name"),
        (vec!["--without", "wroker"], "did you mean `worker`?"), // typos:ignore
        (vec!["--without", "worker", "--output", "here"], "name the server's file by `--output"),
        (vec!["--without", "worker", "--source", "here"], "`--source"),
    ] {
        let refused = run(skep(place.path()).arg("build").args(&arguments)).refusal();
        assert!(refused.contains(told), "{arguments:?}: {refused}");
        assert!(!place.path().join("target").exists());
    }
}
