//! A job's events, written for a person or for a program.
//!
//! Output goes to standard output as it comes, everything about the job to standard error. The
//! result is output too where nothing else was; a job that has streamed its output has told it.

use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use skep::job::{End, Event, EventKind, Progress};

/// Writes events as they come.
pub(super) struct Printer {
    json: bool,
    bar: Option<ProgressBar>,
    /// Whether anything was output, so that the result isn't, and whether it ended its line.
    printed: bool,
    line_open: bool,
}

impl Printer {
    /// Prints lines of JSON if `json`, which is what the flag of that name asks for.
    pub(super) fn new(json: bool) -> Self {
        Self { json, bar: None, printed: false, line_open: false }
    }

    /// Prints how far the job is and what it says, and not its result.
    pub(super) fn quiet() -> Self {
        Self { printed: true, ..Self::new(false) }
    }

    /// Prints one event; returns the end if it was that.
    pub(super) fn print(&mut self, event: Event) -> io::Result<Option<End>> {
        if self.json {
            print_json(&event)?;
        }
        match event.kind {
            EventKind::End(end) => {
                self.end(&end)?;
                return Ok(Some(end));
            }
            _ if self.json => {}
            EventKind::Output(output) => self.output(&output)?,
            EventKind::Progress(progress) => self.progress(&progress),
            EventKind::Log(line) => {
                self.note(&format!("{}: {}", line.level.as_str(), line.message))?;
            }
            _ => {}
        }
        Ok(None)
    }

    /// A text is printed as it is, a piece of one (`{"text": ...}`) without a line's end, all else
    /// as JSON.
    fn output(&mut self, output: &Value) -> io::Result<()> {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let piece = output.as_object().filter(|fields| fields.len() == 1);
        let mut out = io::stdout().lock();
        self.printed = true;
        if let Some(Value::String(text)) = piece.and_then(|fields| fields.get("text")) {
            write!(out, "{text}")?;
            self.line_open |= !text.is_empty();
            return out.flush();
        }
        match output {
            Value::String(text) => writeln!(out, "{text}"),
            other => writeln!(out, "{other}"),
        }
    }

    fn progress(&mut self, progress: &Progress) {
        if !io::stderr().is_terminal() || self.line_open {
            return;
        }
        let bar = self.bar.get_or_insert_with(ProgressBar::no_length);
        let counted = match progress.unit.as_str() {
            "bytes" => "{bytes} of {total_bytes}, {bytes_per_sec}",
            _ => "{human_pos} of {human_len} {msg}",
        };
        let template = format!("{{bar:30}} {counted}");
        if let (Some(total), Ok(style)) = (progress.total, ProgressStyle::with_template(&template))
        {
            // First: each of these draws.
            bar.set_style(style);
            bar.set_length(total);
        }
        bar.set_message(progress.unit.clone());
        bar.set_position(progress.done);
    }

    /// A line about the job.
    pub(super) fn note(&mut self, line: &str) -> io::Result<()> {
        match &self.bar {
            Some(bar) => bar.suspend(|| writeln!(io::stderr(), "{line}")),
            None => writeln!(io::stderr(), "{line}"),
        }
    }

    fn end(&mut self, end: &End) -> io::Result<()> {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if std::mem::take(&mut self.line_open) {
            writeln!(io::stdout())?;
        }
        match end {
            _ if self.json => Ok(()),
            End::Succeeded { result } if !self.printed => match result {
                Value::String(text) => writeln!(io::stdout(), "{text}"),
                result => writeln!(io::stdout(), "{result:#}"),
            },
            End::Succeeded { .. } => Ok(()),
            End::Failed { error } => {
                self.note(&format!("failed: {} ({})", error.detail, error.code))
            }
            End::Cancelled => self.note("cancelled"),
        }
    }
}

fn print_json(event: &Event) -> io::Result<()> {
    let (name, data) = match &event.kind {
        EventKind::Output(output) => ("message", output.clone()),
        EventKind::State { state, attempt } => {
            ("state", json!({ "state": state, "attempt": attempt }))
        }
        EventKind::Progress(progress) => ("progress", json!(progress)),
        EventKind::Log(line) => ("log", json!(line)),
        EventKind::End(end) => ("end", json!(end)),
        _ => return Ok(()),
    };
    let line = json!({ "id": event.id, "event": name, "data": data });
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
