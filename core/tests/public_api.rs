//! The public face of the crate, held against a file: what others build on changes by intention only.

use std::path::Path;
use std::process::Command;

/// What was written down.
const KEPT: &str = "tests/public_api.txt";

/// The variable that has it written anew.
const UPDATE: &str = "UPDATE_API";

#[test]
fn the_public_api_is_what_was_written_down() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // A directory of its own: Cargo holds the other one while it runs this.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("public-api");
    let documented = Command::new(env!("CARGO"))
        .args(["rustdoc", "--quiet", "--lib", "--all-features", "--manifest-path"])
        .arg(root.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .args(["--", "-Z", "unstable-options", "--output-format", "json", "--cap-lints", "allow"])
        // What rustdoc knows of a crate is not a stable format yet; the library that reads it is for
        // that of Rust 1.95.
        .env("RUSTC_BOOTSTRAP", "1")
        .output()
        .expect("Cargo runs");
    let said = String::from_utf8_lossy(&documented.stderr);
    assert!(documented.status.success(), "rustdoc can't document the crate:\n{said}");
    let api = public_api::Builder::from_rustdoc_json(target.join("doc/skep.json"))
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()
        .expect(
            "it's the format of Rust 1.95: with another version, another `public-api` is needed",
        );
    let is = api.to_string();
    let file = root.join(KEPT);
    if std::env::var_os(UPDATE).is_some() {
        return std::fs::write(&file, is).expect("it can be written");
    }
    let was = std::fs::read_to_string(&file).expect("the file is there");
    let gone = was.lines().filter(|line| !is.lines().any(|now| now == *line));
    let new = is.lines().filter(|line| !was.lines().any(|then| then == *line));
    let differences: Vec<_> =
        gone.map(|line| format!("- {line}")).chain(new.map(|line| format!("+ {line}"))).collect();
    assert!(
        differences.is_empty(),
        "the public API is not as core/{KEPT} has it. If that is meant: `{UPDATE}=1 cargo test -p skep \
         --test public_api`, and look at what it means for those who use it\n{}",
        differences.join("\n")
    );
}
