//! `skep new`.

use std::fs;
use std::path::Path;

use crate::support::{cargo, lock_target, run, skep};

/// Formats and tests a crate, as its own CI does. That clippy likes it is checked where the template
/// is: names don't change that.
fn check(directory: &Path) {
    let _target = lock_target();
    // The versions that other tests have compiled.
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    fs::copy(lock, directory.join("Cargo.lock")).unwrap();
    for arguments in [&["fmt", "--check"][..], &["test"]] {
        let done = run(cargo(directory).args(arguments));
        assert!(done.succeeded, "cargo {arguments:?}: {}{}", done.stdout, done.stderr);
    }
}

#[test]
fn what_a_person_reads_stays_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    for (name, arguments) in [
        ("help", &["--help"][..]),
        ("plugin", &["plugin", "shout"]),
        ("server", &["server", "house"]),
    ] {
        let told = run(skep(home.path()).arg("new").args(arguments)).stdout();
        insta::assert_snapshot!(name, told);
    }
}

#[test]
fn a_new_plugin_passes_its_own_checks() {
    let home = tempfile::tempdir().unwrap();
    let told = run(skep(home.path()).args(["new", "plugin", "loud_shout"])).stdout();
    assert!(told.contains("cd loud-shout && skep dev"), "{told}");
    check(&home.path().join("loud-shout"));
}

#[test]
fn a_new_server_passes_its_own_checks() {
    let home = tempfile::tempdir().unwrap();
    let told = run(skep(home.path()).args(["new", "server", "house"])).stdout();
    assert!(told.contains("cd house && cargo run -- serve"), "{told}");
    check(&home.path().join("house"));
}

#[test]
fn a_crate_that_cannot_be_is_refused_and_nothing_is_written() {
    let home = tempfile::tempdir().unwrap();
    for (arguments, says) in [
        (["plugin", "Shout"], "`Shout` can't be a name"),
        (["plugin", "../shout"], "`../shout` can't be a name"),
        (["plugin", "async"], "Rust has it for itself"),
        (["plugin", "echo"], "`echo` is taken"),
        (["plugin", "skep"], "it depends on a crate that is called so"),
        (["server", "skep-server"], "it depends on a crate that is called so"),
        (["server", "build"], "Cargo has"),
        (["plugn", "shout"], "a similar value exists: 'plugin'"),
    ] {
        let refusal = run(skep(home.path()).arg("new").args(arguments)).refusal();
        assert!(refusal.contains(says), "{arguments:?}: {refusal}");
    }
    let mut elsewhere = skep(home.path());
    let refusal = run(elsewhere.args(["new", "server", "house", "--source", "nowhere"])).refusal();
    assert!(refusal.contains("nowhere"), "{refusal}");
    assert_eq!(home.path().read_dir().unwrap().count(), 0);
}

#[test]
fn a_directory_that_has_something_is_left_alone_and_an_empty_one_is_filled() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("shout");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("notes"), "mine").unwrap();
    let mut new = skep(home.path());
    new.args(["new", "plugin", "shout"]);
    let refusal = run(&mut new).refusal();
    assert!(refusal.contains("shout/ is there already"), "{refusal}");
    assert_eq!(directory.read_dir().unwrap().count(), 1);

    fs::remove_file(directory.join("notes")).unwrap();
    run(&mut new).stdout();
    assert!(directory.join("src/lib.rs").is_file());
    // Nothing is left beside it.
    assert_eq!(home.path().read_dir().unwrap().count(), 1);
}

#[test]
fn skeps_crates_come_from_the_repository_that_is_named() {
    let home = tempfile::tempdir().unwrap();
    let mut new = skep(home.path());
    new.args(["new", "plugin", "shout", "--source", "https://forge.example/skep#v1"]);
    run(&mut new).stdout();
    let manifest = fs::read_to_string(home.path().join("shout/Cargo.toml")).unwrap();
    let line = r#"skep = { git = "https://forge.example/skep", rev = "v1" }"#;
    assert!(manifest.lines().any(|has| has == line), "{manifest}");
}
