//! The templates, and what becomes of them: crates of this workspace, which its checks build and
//! test as they stand, and which are embedded from there.

use toml::{Table, Value};

use super::name::Name;
use crate::source::{Source, SourceError};

/// What a manifest's `[workspace]` is for: a crate that lies in another's directory would else be
/// taken for a part of it.
const WORKSPACE: &str = "
# A workspace of its own, wherever it lies. Without this line it can be a member of one of yours.
[workspace]
";

/// The file of a template that isn't only renamed.
const MANIFEST: &str = "Cargo.toml";

/// A crate that others are made from.
pub(crate) struct Template {
    /// What the template's own crate is called, as `Name::snake` has it.
    placeholder: &'static str,
    /// Its files: path and text.
    files: &'static [(&'static str, &'static str)],
}

/// The files of a directory below `templates/`.
macro_rules! files {
    ($directory:literal: $($path:literal),+ $(,)?) => {
        &[$(($path, include_str!(concat!("../../templates/", $directory, "/", $path)))),+]
    };
}

/// A plugin: an operation with state and configuration.
pub(crate) const PLUGIN: Template = Template {
    placeholder: "my_plugin",
    files: files!("plugin":
        "Cargo.toml",
        "README.md",
        "src/lib.rs",
        "tests/my_plugin.rs",
        ".github/workflows/ci.yml",
        ".gitignore",
    ),
};

/// A server: a list of plugins.
pub(crate) const SERVER: Template = Template {
    placeholder: "my_server",
    files: files!("server":
        "Cargo.toml",
        "README.md",
        "skep.toml",
        "src/main.rs",
        "tests/serve.rs",
        ".github/workflows/ci.yml",
        ".gitignore",
    ),
};

impl Template {
    /// The files of the crate that is called `name` and takes Skep's crates from `source`.
    pub(crate) fn crate_named(
        &self,
        name: &Name,
        source: &Source,
    ) -> Result<Vec<(String, String)>, SourceError> {
        let files = self.files.iter().map(|(path, text)| {
            let text = self.renamed(text, name);
            let text = if *path == MANIFEST { manifest(&text, source)? } else { text };
            Ok((self.renamed(path, name), text))
        });
        files.collect()
    }

    /// Whether the crate asks for one that is called `name`.
    pub(crate) fn depends_on(&self, name: &Name) -> bool {
        let manifest = self.files.iter().find(|(path, _)| *path == MANIFEST);
        let manifest =
            manifest.and_then(|(_, text)| text.parse::<Table>().ok()).unwrap_or_default();
        let tables = ["dependencies", "dev-dependencies"];
        let mut tables = tables.iter().filter_map(|table| manifest.get(*table)?.as_table());
        tables.any(|table| table.keys().any(|key| key.replace('-', "_") == name.snake))
    }

    fn renamed(&self, text: &str, name: &Name) -> String {
        let placeholder = Name { snake: self.placeholder.to_owned() };
        text.replace(&placeholder.snake, &name.snake)
            .replace(&placeholder.kebab(), &name.kebab())
            .replace(&placeholder.pascal(), &name.pascal())
    }
}

/// A manifest without its workspace: what it takes from there (`edition.workspace = true`) as it's
/// said there. A line at a time, so that all else stays as it's written.
fn manifest(template: &str, source: &Source) -> Result<String, SourceError> {
    let mut manifest = String::new();
    let mut section = "";
    for line in template.lines() {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']');
        }
        match inherited(line) {
            None => manifest.push_str(line),
            Some((key, own)) => {
                let value = if section == "package" {
                    source.value(&["workspace", "package", &key]).cloned()
                } else {
                    Some(with(source.dependency(&key)?, own))
                };
                // What the workspace doesn't say is left to Cargo.
                let Some(value) = value else { continue };
                manifest.push_str(&format!("{key} = {value}"));
            }
        }
        manifest.push('\n');
    }
    Ok(manifest + WORKSPACE)
}

/// What a line takes from the workspace: the key, and what it says beside.
fn inherited(line: &str) -> Option<(String, Table)> {
    let line: Table = line.parse().ok()?;
    let (key, Value::Table(mut own)) = line.into_iter().next()? else { return None };
    own.remove("workspace")?;
    Some((key, own))
}

/// A dependency of the workspace, with what the crate asks for beside.
fn with(dependency: Value, own: Table) -> Value {
    if own.is_empty() {
        return dependency;
    }
    let mut table = match dependency {
        Value::Table(table) => table,
        version => Table::from_iter([("version".to_owned(), version)]),
    };
    table.extend(own);
    Value::Table(table)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    /// The files below a directory, by their paths from there.
    fn files_below(root: &Path) -> Vec<String> {
        let mut directories = vec![PathBuf::from(root)];
        let mut files = Vec::new();
        while let Some(directory) = directories.pop() {
            for entry in directory.read_dir().unwrap().map(Result::unwrap) {
                if entry.path().is_dir() {
                    directories.push(entry.path());
                } else {
                    files.push(entry.path().strip_prefix(root).unwrap().display().to_string());
                }
            }
        }
        files.sort();
        files
    }

    #[test]
    fn every_file_of_a_template_is_embedded() {
        let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
        for (template, directory) in [(PLUGIN, "plugin"), (SERVER, "server")] {
            let mut embedded: Vec<_> = template.files.iter().map(|(path, _)| *path).collect();
            embedded.sort_unstable();
            assert_eq!(embedded, files_below(&templates.join(directory)));
        }
    }

    #[test]
    fn nothing_keeps_the_templates_name_or_needs_this_workspace() {
        let (name, source) = (Name::parse("loud-shout").unwrap(), Source::built_from().unwrap());
        for template in [PLUGIN, SERVER] {
            for (path, text) in template.crate_named(&name, &source).unwrap() {
                for of_template in ["my_", "my-", "My", "workspace = true"] {
                    assert!(!format!("{path}\n{text}").contains(of_template), "{path}: {text}");
                }
            }
        }
    }

    #[test]
    fn a_manifest_says_itself_what_the_template_takes_from_the_workspace() {
        let source = Source::parse("https://forge.example/skep", Path::new("")).unwrap();
        let template = r#"
[package]
edition.workspace = true
homepage.workspace = true

[dependencies]
# Why.
skep.workspace = true
thiserror = { workspace = true, features = ["std"] }
"#;
        let expected = r#"
[package]
edition = "2024"

[dependencies]
# Why.
skep = { git = "https://forge.example/skep" }
thiserror = { features = ["std"], version = "2" }
"#;
        assert_eq!(manifest(template, &source).unwrap(), format!("{expected}{WORKSPACE}"));
    }
}
