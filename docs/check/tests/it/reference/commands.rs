//! The page of the command line, from the help of each command.

use std::path::Path;

use crate::skep;

/// The help of the program and of all its commands.
pub(super) fn page() -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let mut text = "What `--help` says of each command. Exit codes: 0 for success (of `skep run`: the job succeeded), 1 \
                    for a failure, 2 for a command line that can't be understood, 130 after Ctrl-C.\n"
        .to_owned();
    add(&mut text, directory.path(), &[]);
    text
}

fn add(text: &mut String, directory: &Path, command: &[&str]) {
    let name = [&["skep"], command].concat().join(" ");
    let help = match skep::run(directory, &[command, &["--help"]].concat()) {
        Ok(help) | Err(help) => help,
    };
    let help: Vec<_> = help.lines().map(str::trim_end).collect();
    text.push_str(&format!("\n## {name}\n\n```text\n{}\n```\n", help.join("\n").trim_end()));
    let listed = help.iter().skip_while(|line| **line != "Commands:").skip(1);
    for line in listed.take_while(|line| !line.is_empty()) {
        let name = line.split_whitespace().next().expect("a command's name");
        if name != "help" {
            add(text, directory, &[command, &[name]].concat());
        }
    }
}
