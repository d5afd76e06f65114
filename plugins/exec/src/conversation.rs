//! What a job and its program say to each other, from the input to the program's end.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use serde_json::Value;
use skep::Problem;
use skep::prelude::*;
use skep::problem::Code;
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::lines::{Line, Lines};
use crate::process::{Pipes, Process};
use crate::protocol::{self, Say, quoted};
use crate::tail::Tail;

/// The longest line of the standard output, bytes: the largest event, and the largest result.
const MAX_LINE: usize = 1 << 20;

/// The longest line of the standard error, bytes; a longer one is told in parts.
const MAX_STDERR_LINE: usize = 4096;

/// How long the last lines of a process that has ended may take to come.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The most that a process can have left in a pipe, bytes. What comes after that is from somebody
/// who has left its group and goes on to write.
const PIPE: usize = 1 << 20;

/// The longest that a program is waited for after its result: a year is for ever.
const LONGEST: Duration = Duration::from_hours(365 * 24);

/// A program that works for a job.
///
/// Dropped before its end, it takes the program and its group with it.
pub(crate) struct Conversation<'a> {
    job: &'a JobContext,
    process: Process,
    stdout: Lines<ChildStdout>,
    stderr: Lines<ChildStderr>,
    /// What the standard error ended with.
    last_words: Tail,
    /// How long the program may take to end when it's asked to, and when it has said what it comes to.
    grace: Duration,
    outcome: Outcome,
}

/// What the program has said it comes to.
enum Outcome {
    /// Nothing yet.
    Open,
    Told {
        result: Result<Value>,
        /// When the program has to have ended.
        patience: Instant,
        /// It has gone on to write, and that it doesn't count has been said.
        is_warned: bool,
    },
}

impl<'a> Conversation<'a> {
    pub(crate) fn new(
        job: &'a JobContext,
        process: Process,
        pipes: Pipes,
        grace: Duration,
    ) -> (Self, ChildStdin) {
        let Pipes { stdin, stdout, stderr } = pipes;
        let conversation = Self {
            job,
            process,
            stdout: Lines::new(stdout, MAX_LINE),
            stderr: Lines::new(stderr, MAX_STDERR_LINE),
            last_words: Tail::default(),
            grace,
            outcome: Outcome::Open,
        };
        (conversation, stdin)
    }

    /// Gives the program its input, relays what it says, and returns what it comes to.
    pub(crate) async fn hold(mut self, stdin: ChildStdin, input: &Value) -> Result<Value> {
        let job = self.job;
        let heard = tokio::select! {
            heard = self.hear_out(stdin, input) => heard,
            () = job.cancelled() => Err(Problem::new(Code::Cancelled, "the job is to stop").into()),
        };
        match heard {
            Ok(Some(exit)) => self.conclude(exit),
            Ok(None) => {
                self.stop().await;
                let grace = self.grace;
                let warning =
                    format!("the program was ended: it still ran {grace:?} after its result");
                // What it said stands, whether there's room for this or not.
                let _ = job.log(LogLevel::Warn, warning).await;
                self.outcome.result()
            }
            Err(error) => {
                self.stop().await;
                Err(error)
            }
        }
    }

    /// Relays until the program has ended (`None` if it doesn't, though it has said what it comes to).
    async fn hear_out(&mut self, stdin: ChildStdin, input: &Value) -> Result<Option<ExitStatus>> {
        let feeding = feed(stdin, input);
        tokio::pin!(feeding);
        let mut is_fed = false;
        let exit = loop {
            tokio::select! {
                exit = self.process.ended() => break exit?,
                Some(line) = self.stdout.next() => self.heard(line).await?,
                Some(line) = self.stderr.next() => self.noted(line).await?,
                () = &mut feeding, if !is_fed => is_fed = true,
                () = self.outcome.tried_patience() => return Ok(None),
            }
        };
        // Its group is gone, and so the pipes have ended, unless somebody outside of the group has
        // them.
        let deadline = Instant::now() + LAST_LINES;
        let mut room = PIPE;
        while let Some(line) = last(&mut self.stdout, deadline, &mut room).await {
            self.heard(line).await?;
        }
        let mut room = PIPE;
        while let Some(line) = last(&mut self.stderr, deadline, &mut room).await {
            self.noted(line).await?;
        }
        Ok(Some(exit))
    }

    /// Does what a line of the standard output says.
    async fn heard(&mut self, line: Line) -> Result<()> {
        if let Outcome::Told { is_warned, .. } = &mut self.outcome {
            if std::mem::replace(is_warned, true) {
                return Ok(());
            }
            let line = line.into_text();
            let warning = format!("what comes after the result is ignored: {}", quoted(&line));
            let _ = self.job.log(LogLevel::Warn, warning).await;
            return Ok(());
        }
        let line = match line {
            Line::Whole(line) => line,
            Line::Part(start) => {
                let start = quoted(&start);
                let detail =
                    format!("the program wrote a line of more than {MAX_LINE} bytes: {start}...");
                return Err(OperationError::new("line-too-long", detail));
            }
        };
        let said = protocol::read(&line)
            .map_err(|error| OperationError::new("bad-line", error.to_string()))?;
        match said {
            Say::Emit(value) => self.job.emit(value).await,
            Say::Text(text) => self.job.emit(text).await,
            Say::Progress(progress) => {
                self.job.progress(progress.done, progress.total, &progress.unit).await
            }
            Say::Log(level, message) => self.job.log(level, message).await,
            Say::Result(result) => {
                self.told(Ok(result));
                Ok(())
            }
            Say::Error(error) => {
                self.told(Err(error));
                Ok(())
            }
        }
    }

    /// From now on the program has its time to end.
    fn told(&mut self, result: Result<Value>) {
        let patience = Instant::now() + self.grace.min(LONGEST);
        self.outcome = Outcome::Told { result, patience, is_warned: false };
    }

    /// Keeps a line of the standard error.
    async fn noted(&mut self, line: Line) -> Result<()> {
        let line = line.into_text();
        self.last_words.push(&line);
        let noted = self.job.log(LogLevel::Info, line).await;
        // What it has come to stands.
        if matches!(self.outcome, Outcome::Told { .. }) { Ok(()) } else { noted }
    }

    /// What the job comes to when the program has ended by itself.
    fn conclude(self, exit: ExitStatus) -> Result<Value> {
        match self.outcome.result() {
            Err(error) => Err(error),
            Ok(_) if !exit.success() => Err(self.last_words.failure(exit)),
            Ok(result) => Ok(result),
        }
    }

    /// Asks the program to end, and kills it if it doesn't.
    async fn stop(&mut self) {
        self.process.terminate();
        let grace = self.grace;
        let _ = timeout(grace, self.part()).await;
        self.process.kill().await;
    }

    /// Waits until the program has ended. What it says meanwhile goes to the log, what it would emit
    /// is lost.
    async fn part(&mut self) {
        loop {
            let line = tokio::select! {
                _ = self.process.ended() => break,
                Some(_) = self.stdout.next() => continue,
                Some(line) = self.stderr.next() => line,
            };
            // A log that's full is no reason to kill it at once.
            let _ = self.noted(line).await;
        }
        let deadline = Instant::now() + LAST_LINES;
        let mut room = PIPE;
        while let Some(line) = last(&mut self.stderr, deadline, &mut room).await {
            let _ = self.noted(line).await;
        }
    }
}

impl Outcome {
    /// What was told; `null` by a program that told nothing.
    fn result(self) -> Result<Value> {
        match self {
            Self::Open => Ok(Value::Null),
            Self::Told { result, .. } => result,
        }
    }

    /// Waits until the program has had its time to end. Cancel-safe.
    async fn tried_patience(&self) {
        match self {
            Self::Open => std::future::pending().await,
            Self::Told { patience, .. } => sleep_until(*patience).await,
        }
    }
}

/// Writes the input, a line, and closes the standard input.
async fn feed(mut stdin: ChildStdin, input: &Value) {
    // A program may end, or close its standard input, without having read what it doesn't need.
    let _: io::Result<()> = stdin.write_all(format!("{input}\n").as_bytes()).await;
}

/// The next line that a process has left, if there's one: not after `deadline`, unless it's there
/// already, and not when those before it have used up `room` bytes. A line that was read counts.
async fn last<R: AsyncRead + Unpin>(
    lines: &mut Lines<R>,
    deadline: Instant,
    room: &mut usize,
) -> Option<Line> {
    if *room == 0 {
        return None;
    }
    let line = timeout_at(deadline, lines.next()).await.ok()??;
    let (Line::Whole(text) | Line::Part(text)) = &line;
    *room = room.saturating_sub(text.len() + 1);
    Some(line)
}
