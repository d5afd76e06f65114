//! The arrows that must never be: ARCHITECTURE.md, "Invariants".

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The workspace's members and what each depends on among them, tests aside.
fn arrows() -> Vec<(String, BTreeSet<String>)> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
    let members: BTreeSet<String> = packages.iter().map(name).collect();
    let depends_on = |package: &Value| {
        let dependencies = package["dependencies"].as_array().expect("dependencies").iter();
        dependencies
            .filter(|dependency| dependency["kind"].is_null())
            .map(name)
            .filter(|dependency| members.contains(dependency))
            .collect()
    };
    packages.iter().map(|package| (name(package), depends_on(package))).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn of(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn core_depends_on_its_macros_alone_and_no_plugin_on_another() {
    let plugins = of(&[
        "skep-system",
        "skep-model",
        "skep-worker",
        "skep-hive",
        "skep-infer",
        "skep-sqlite",
        "skep-exec",
        "skep-author",
    ]);
    let mut seen = BTreeSet::new();
    for (name, dependencies) in arrows() {
        let allowed = match name.as_str() {
            "skep" => of(&["skep-macros"]),
            "skep-macros" | "skep-engine" => of(&[]),
            "skep-worker" => of(&["skep", "skep-engine"]),
            "skep-hive" => of(&["skep", "skep-relay"]),
            "skep-relay" => of(&["skep"]),
            name if plugins.contains(name) => of(&["skep"]),
            // Its plugins are optional, for `main.rs`; the next test sees to the library.
            "skep-server" => plugins.iter().cloned().chain(["skep".to_owned()]).collect(),
            _ => continue,
        };
        let extra: Vec<_> = dependencies.difference(&allowed).collect();
        assert!(extra.is_empty(), "{name} must not depend on {extra:?}");
        seen.insert(name);
    }
    assert!(seen.is_superset(&plugins) && seen.contains("skep") && seen.contains("skep-server"));
}

#[test]
fn the_servers_library_names_no_plugin_and_its_main_nothing_else() {
    let source = root().join("server/src");
    let plugins = [
        "skep_system",
        "skep_model",
        "skep_worker",
        "skep_hive",
        "skep_infer",
        "skep_sqlite",
        "skep_exec",
        "skep_author",
    ];
    let mut files = vec![source.clone()];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(path.read_dir().expect("a folder").flatten().map(|entry| entry.path()));
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("source");
        if path == source.join("main.rs") {
            assert!(text.lines().count() < 30);
            assert!(plugins.iter().all(|plugin| text.contains(plugin)));
        } else {
            let named: Vec<_> = plugins.iter().filter(|plugin| text.contains(**plugin)).collect();
            assert!(named.is_empty(), "{} names {named:?}", path.display());
        }
    }
}

#[test]
fn a_server_of_ones_own_does_not_compile_the_engine() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "-p", "skep-custom-server", "-e", "normal", "--prefix", "none", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let tree = String::from_utf8_lossy(&tree.stdout).into_owned();
    assert!(tree.contains("skep-hello "), "{tree}");
    for heavy in ["candle", "skep-engine", "skep-worker", "tokenizers"] {
        assert!(!tree.contains(heavy), "{heavy} is in the tree");
    }
}
