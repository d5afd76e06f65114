//! A line of a program's standard output, and what it says.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use skep::OperationError;
use skep::job::{LogLevel, LogLine, Progress};

/// The longest part of a line that is quoted back, bytes.
pub(crate) const MAX_QUOTED: usize = 200;

/// What a line says.
#[derive(Debug)]
pub(crate) enum Say<'a> {
    /// An event of the output. It's passed on as it's written: no number loses a digit.
    Emit(&'a RawValue),
    /// An event of the output that is a text: the line itself.
    Text(&'a str),
    /// How far the program is.
    Progress(Progress),
    /// A line for the job's log.
    Log(LogLevel, String),
    /// What the program comes to.
    Result(Value),
    /// Why it comes to nothing.
    Error(OperationError),
}

/// A line that has one of the protocol's keys and not what belongs to it.
#[derive(Debug, thiserror::Error)]
#[error("the program wrote a line that can't be used: `{key}` {reason}: {line}")]
pub(crate) struct BadLine {
    key: String,
    reason: String,
    /// The line's start.
    line: String,
}

/// What belongs to `error`. Other members are told as they are.
#[derive(Deserialize)]
struct Failure {
    code: String,
    detail: String,
    status: Option<u16>,
    #[serde(flatten)]
    more: Map<String, Value>,
}

/// Reads a line. One that isn't a JSON object with exactly one key, and that of the protocol, is a
/// text.
pub(crate) fn read(line: &str) -> Result<Say<'_>, BadLine> {
    if !line.trim_start().starts_with('{') {
        return Ok(Say::Text(line));
    }
    let object: BTreeMap<String, &RawValue> = match serde_json::from_str(line) {
        Ok(object) => object,
        Err(_) => return Ok(Say::Text(line)),
    };
    let mut members = object.into_iter();
    let (Some((key, content)), None) = (members.next(), members.next()) else {
        return Ok(Say::Text(line));
    };
    let said = match key.as_str() {
        "emit" => Ok(Say::Emit(content)),
        "progress" => parse(content).map(Say::Progress),
        "log" => log(content),
        "result" => parse(content).map(Say::Result),
        "error" => parse(content).and_then(error),
        _ => return Ok(Say::Text(line)),
    };
    said.map_err(|reason| BadLine { key, reason, line: quoted(line).to_owned() })
}

/// As much of a line as is quoted back.
pub(crate) fn quoted(line: &str) -> &str {
    &line[..line.floor_char_boundary(MAX_QUOTED)]
}

fn parse<T: DeserializeOwned>(content: &RawValue) -> Result<T, String> {
    serde_json::from_str(content.get()).map_err(|error| format!("does not fit ({error})"))
}

fn log(content: &RawValue) -> Result<Say<'static>, String> {
    if content.get().starts_with('"') {
        return Ok(Say::Log(LogLevel::Info, parse(content)?));
    }
    let line: LogLine = parse(content)?;
    Ok(Say::Log(line.level, line.message))
}

fn error(failure: Failure) -> Result<Say<'static>, String> {
    let Failure { code, detail, status, more } = failure;
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if code.is_empty() || !code.chars().all(is_plain) {
        return Err("has a `code` that is not kebab-case".to_owned());
    }
    let mut error = OperationError::new(code, detail);
    if let Some(status) = status {
        if !(400..600).contains(&status) {
            return Err("has a `status` that is not between 400 and 599".to_owned());
        }
        error = error.with_status(status);
    }
    for (member, value) in more {
        error = error.with(&member, value);
    }
    Ok(Say::Error(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_not_of_the_protocol_is_a_text() {
        for line in [
            "hello",
            "",
            "17",
            "[1]",
            "{",
            "{}",
            r#"{"name":"Ada"}"#,
            r#"{"emit":1,"more":2}"#,
            r#"{"emit":1} and more"#,
        ] {
            assert!(matches!(read(line), Ok(Say::Text(text)) if text == line), "{line}");
        }
    }

    #[test]
    fn what_is_emitted_is_passed_on_as_it_is_written() {
        let Ok(Say::Emit(value)) = read(r#" { "emit" : {"n": 1.10000000000000000000001} } "#)
        else {
            panic!("it's no output")
        };
        assert_eq!(value.get(), r#"{"n": 1.10000000000000000000001}"#);
    }

    #[test]
    fn a_log_line_has_a_level_or_is_a_text() {
        let level = |line| match read(line) {
            Ok(Say::Log(level, message)) => (level.as_str(), message),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(level(r#"{"log":"started"}"#), ("info", "started".into()));
        let line = r#"{"log":{"level":"warn","message":"hot"}}"#;
        assert_eq!(level(line), ("warn", "hot".into()));
    }

    #[test]
    fn an_error_keeps_its_code_its_status_and_its_members() {
        let line = r#"{"error":{"code":"sold-out","detail":"none left","status":409,"seats":0}}"#;
        let Ok(Say::Error(error)) = read(line) else { panic!("it's no error") };
        let problem = error.problem();
        assert_eq!((problem.code.as_ref(), problem.status), ("sold-out", 409));
        assert_eq!(problem.extensions["seats"], 0);
    }

    #[test]
    fn a_line_of_the_protocol_that_does_not_fit_says_why() {
        for (line, reason) in [
            (r#"{"progress":5}"#, "`progress` does not fit"),
            (r#"{"log":{"level":"loud","message":"hey"}}"#, "unknown variant `loud`"),
            (r#"{"error":"no"}"#, "`error` does not fit"),
            (r#"{"error":{"code":"Bad Code","detail":""}}"#, "not kebab-case"),
            (r#"{"error":{"code":"bad","detail":"","status":200}}"#, "between 400 and 599"),
        ] {
            let error = read(line).unwrap_err().to_string();
            assert!(error.contains(reason) && error.ends_with(line), "{error}");
        }
    }
}
