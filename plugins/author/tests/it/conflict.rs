//! Two cores in one build: Cargo refuses it, and `skep build` says who wants what, and how to agree.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::tempdir;
use toml::{Table, Value};

use crate::cargo_home::Fetched;
use crate::registry::Registry;
use crate::support::{
    Done, WITHOUT_ENGINE, build, by_path, cargo, operation, run, skep, write_crate, write_plugin,
};

/// A copy of core's source, which says that it's version 0.2.0.
fn copy_core(to: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let tree = to.join("other-skep");
    copy(&root.join("core"), &tree.join("core"));
    let mut manifest: Table = fs::read_to_string(root.join("Cargo.toml")).unwrap().parse().unwrap();
    let version = Value::String("0.2.0".to_owned());
    let workspace = manifest["workspace"].as_table_mut().unwrap();
    workspace["members"] = vec!["core", "core/macros"].into();
    workspace["package"]["version"] = version.clone();
    for member in ["skep", "skep-macros"] {
        workspace["dependencies"][member]["version"] = version.clone();
    }
    fs::write(tree.join("Cargo.toml"), manifest.to_string()).unwrap();
    tree.canonicalize().unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn build_with(place: &Path, plugins: &[String]) -> Done {
    let mut command = skep(place);
    command.arg("build").args(WITHOUT_ENGINE);
    for plugin in plugins {
        command.args(["--with", plugin]);
    }
    build(&mut command)
}

#[test]
fn a_plugin_on_a_copy_of_core_is_refused_with_who_wants_what() {
    let place = tempdir().unwrap();
    let copy = copy_core(place.path());
    let core = format!("skep = {{ path = \"{}/core\" }}", copy.display());
    let stray = write_crate(place.path(), ("stray", "0.1.0"), &core, &operation("stray"));
    let shout = write_plugin(place.path(), "shout");

    let plugins = [by_path("shout", &shout), by_path("stray", &stray)];
    let refused = build_with(place.path(), &plugins).refusal();
    for told in [
        "Plugin `shout` goes with it.".to_owned(),
        format!("Plugin `stray` wants skep 0.2.0 ({}/core).", copy.display()),
        format!("- stray: its Cargo.toml asks for `{core}`; have it ask for `skep = \"0.1\"`"),
        format!("`--source {}`", copy.display()),
    ] {
        assert!(refused.contains(&told), "{told}\nis not in:\n{refused}");
    }
    assert!(!place.path().join("skep").exists());

    let kept = place.path().join("target/skep-build");
    assert!(!kept.join("probe").exists(), "what was asked leaves nothing");
    let plain = run(cargo(&kept).arg("build")).refusal();
    assert!(plain.contains("links to the native library `skep`"), "{plain}");

    // The advice is good.
    let manifest = stray.join("Cargo.toml");
    let agreed = fs::read_to_string(&manifest).unwrap().replace(&core, "skep = \"0.1\"");
    fs::write(&manifest, agreed).unwrap();
    let told = build_with(place.path(), &plugins).stdout();
    assert!(told.contains(": stray") && told.contains(": shout"), "{told}");
}

#[test]
fn a_plugin_that_needs_another_core_by_way_of_a_crate_is_told_so() {
    let place = tempdir().unwrap();
    let copy = copy_core(place.path());
    let _fetched = Fetched::from(place.path());
    run(Command::new("git").args(["init", "--quiet"]).current_dir(&copy)).stdout();
    run(Command::new("git").args(["add", "--all"]).current_dir(&copy)).stdout();
    let identity = ["-c", "user.name=T", "-c", "user.email=t@t"];
    let commit = ["commit", "--quiet", "-m", "."];
    run(Command::new("git").args(identity).args(commit).current_dir(&copy)).stdout();
    let head = run(Command::new("git").args(["rev-parse", "HEAD"]).current_dir(&copy)).stdout();

    let core = format!("skep = {{ git = \"file://{}\" }}", copy.display());
    write_crate(place.path(), ("between", "1.0.0"), &core, "");
    let needs = "between = { path = \"../between\" }";
    let far = write_crate(place.path(), ("far", "0.1.0"), needs, "");
    let refused = build_with(place.path(), &[by_path("far", &far)]).refusal();
    for told in [
        format!("Plugin `far` wants skep 0.2.0 (file://{}", copy.display()),
        format!("- far: between 1.0.0 ({}/between), which it needs", place.path().display()),
        format!("`--source file://{}#{}`", copy.display(), head.trim()),
    ] {
        assert!(refused.contains(&told), "{told}\nis not in:\n{refused}");
    }
}

#[test]
fn a_plugin_that_needs_two_cores_by_itself_is_told_so() {
    let place = tempdir().unwrap();
    let core = format!("skep = {{ path = \"{}/core\" }}", copy_core(place.path()).display());
    write_crate(place.path(), ("other-half", "1.0.0"), &core, "");
    let needs = "skep = \"0.1\"\nother-half = { path = \"../other-half\" }";
    let torn = write_crate(place.path(), ("torn", "0.1.0"), needs, &operation("torn"));
    let refused = build_with(place.path(), &[by_path("torn", &torn)]).refusal();
    assert!(refused.contains("Plugin `torn` wants two by itself"), "{refused}");
    assert!(refused.contains("by package `other-half v1.0.0"), "Cargo names who asks: {refused}");
    assert!(
        refused.contains("- torn: have all that it needs ask for `skep = \"0.1\"`"),
        "{refused}"
    );
}

#[test]
fn of_a_plugin_in_a_registry_the_version_that_agrees_is_found() {
    let place = tempdir().unwrap();
    let registry = Registry::new(place.path().join("registry"));
    registry.publish(("hoot", "0.1.0"), "0.1");
    registry.publish(("hoot", "0.2.0"), "0.2");
    registry.publish(("howl", "0.2.0"), "0.2");
    let built = |plugins: &[&str]| {
        let mut command = skep(place.path());
        command.arg("build").args(["--registry", "local"]).args(WITHOUT_ENGINE);
        for plugin in plugins {
            command.args(["--with", plugin]);
        }
        build(registry.tell(&mut command))
    };
    let refused = built(&["hoot@0.2", "howl@0.2"]).refusal();
    for told in [
        "Plugin `hoot` wants skep ^0.2, and there is none here.",
        "- hoot: ask for version 0.1.0, `--with hoot@0.1.0`",
        "- howl: its registry has no version for `skep = \"0.1\"`",
    ] {
        assert!(refused.contains(told), "{told}\nis not in:\n{refused}");
    }
    let told = built(&["hoot@0.1.0"]).stdout();
    assert!(told.contains("hoot 0.1.0"), "{told}");
}
