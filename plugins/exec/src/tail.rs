//! The end of what a program writes to its standard error, and how it's told.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use skep::OperationError;

/// How much is kept, bytes.
const KEPT: usize = 1024;

/// The last lines of a standard error.
#[derive(Default)]
pub(crate) struct Tail(String);

impl Tail {
    /// Adds a line; what is too old is forgotten.
    pub(crate) fn push(&mut self, line: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.0.push_str(line);
        let excess = self.0.len().saturating_sub(KEPT);
        self.0.drain(..self.0.ceil_char_boundary(excess));
    }

    /// The error of a program that has ended badly.
    pub(crate) fn failure(&self, exit: ExitStatus) -> OperationError {
        let detail = format!("the program ended with {}{}", in_words(exit), self.after_colon());
        let error = OperationError::new("program-failed", detail);
        match (exit.code(), exit.signal()) {
            (Some(code), _) => error.with("exit_code", code),
            (None, Some(signal)) => error.with("signal", signal),
            (None, None) => error,
        }
    }

    /// What it says, to be put behind something.
    pub(crate) fn after_colon(&self) -> String {
        match self.0.trim() {
            "" => String::new(),
            text => format!(": {text}"),
        }
    }
}

/// How a process ended.
pub(crate) fn in_words(exit: ExitStatus) -> String {
    match (exit.code(), exit.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => exit.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_and_no_character_is_cut() {
        let mut tail = Tail::default();
        tail.push("first");
        for _ in 0..KEPT {
            tail.push("é");
        }
        tail.push("last");
        assert!(tail.0.len() <= KEPT && !tail.0.contains("first"));
        assert!(tail.after_colon().ends_with("é\nlast"));
    }

    #[test]
    fn a_program_that_ended_badly_is_told_by_how_and_its_last_words() {
        let mut tail = Tail::default();
        tail.push("no such file");
        let problem = tail.failure(ExitStatus::from_raw(3 << 8)).into_problem();
        assert_eq!(problem.detail, "the program ended with exit code 3: no such file");
        assert_eq!(
            (problem.code.as_ref(), &problem.extensions["exit_code"]),
            ("program-failed", &3.into())
        );
        let problem = Tail::default().failure(ExitStatus::from_raw(9)).into_problem();
        assert_eq!(problem.detail, "the program ended with signal 9");
        assert_eq!(problem.extensions["signal"], 9);
    }
}
