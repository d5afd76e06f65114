//! The program.

use std::process::{Command, Output};

fn run(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_skep-embedded")).args(words).output().unwrap()
}

#[test]
fn it_tells_each_word_and_then_all() {
    let counted = run(&["skep", "honey", "comb"]);
    assert!(counted.status.success());
    let said = String::from_utf8(counted.stdout).unwrap();
    assert_eq!(said, "4 skep\n5 honey\n4 comb\n13 letters in all\n");
}

#[test]
fn what_does_not_fit_is_refused_before_there_is_a_job() {
    let refused = run(&[]);
    assert!(!refused.status.success());
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("the input does not fit `letters_count`: /words"), "{said}");
}
