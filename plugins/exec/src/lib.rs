//! Operations that are programs, in any language. Linking the crate serves them: `use skep_exec as _;`.
//!
//! A program is declared in the configuration:
//!
//! ```toml
//! [plugins.exec.operations.word_count]
//! command = ["python3", "word_count.py"]
//! summary = "Count the words of a text."
//! input = { type = "object", properties = { text = { type = "string" } }, required = ["text"] }
//! timeout = "30s"
//! ```
//!
//! or put into a folder, where it says itself what it is:
//!
//! ```toml
//! [plugins.exec]
//! dir = "operations.d"
//! ```
//!
//! ```sh
//! #!/bin/sh
//! if [ "$1" = --skep-spec ]; then
//!     echo '{"summary": "Say how full the disks are.", "read_only": true}'
//!     exit
//! fi
//! df
//! ```
//!
//! # What a program is given
//!
//! - Its input, which has passed the schema: one line of JSON on the standard input, which then ends.
//!   A program needn't read it.
//! - A clean environment: `PATH`, `HOME`, `LANG`, `LC_ALL`, `TZ` and `TMPDIR` of the server's, the
//!   operation's `env`, and the job's facts: `SKEP_JOB_ID`, `SKEP_ATTEMPT` (from 1) and
//!   `SKEP_OPERATION`.
//! - No shell: `command` is a list of words, which arrive as they are. The first is a name along
//!   `PATH`, or a path. Relative paths are relative to `working_dir`, and that to the server's.
//!
//! # What a program says
//!
//! A line of its standard output is a JSON object with exactly one of these keys, or a text:
//!
//! | line | what it does |
//! |---|---|
//! | `{"emit": ANY}` | an event of the output |
//! | any other line | the same, with the line as a string |
//! | `{"progress": {"done": 1, "total": 2, "unit": "files"}}` | how far it is; `total` may be left out |
//! | `{"log": {"level": "warn", "message": "..."}}` | a line of the job's log: `debug`, `info`, `warn`, `error` |
//! | `{"log": "..."}` | the same at `info` |
//! | `{"result": ANY}` | what the operation returns; it's held against `output` |
//! | `{"error": {"code": "sold-out", "detail": "...", "status": 409}}` | why it fails; `status` is 500 if left out, other members are told as they are |
//! | a line of the standard error | a line of the job's log, at `info` |
//!
//! What isn't UTF-8 is replaced by U+FFFD. A line of the standard output has at most 1 MiB, one of the
//! standard error is logged in parts of 4 KiB. Whoever writes into a pipe has to flush: `print(...,
//! flush=True)` in Python.
//!
//! # How a job ends
//!
//! | what happens | how the job ends |
//! |---|---|
//! | `result`, and exit code 0 | with the result |
//! | exit code 0 without a result | with `null` |
//! | `error`, whatever the exit code | `failed` with its code |
//! | another exit code, or a signal, also after a result | `failed`, `program-failed`, with `exit_code` or `signal`, and the last words of the standard error, 1 KiB at most |
//! | a key of the table above with something else than belongs to it | `failed`, `bad-line` |
//! | a line that is too long | `failed`, `line-too-long` |
//! | a result that does not fit `output` | `failed`, `invalid-result`, with `errors` |
//! | a program that is gone, or not executable any more | `failed`, `program-not-started` |
//! | more output than `jobs.max_log` | `failed`, `output-too-large` |
//! | `timeout`, a cancellation, the server's shutdown | as with any operation |
//!
//! After a `result` or an `error` the program has `cancel_grace` to end; then it's ended, and what it
//! said stands. What it writes after that is ignored, with a warning in the job's log.
//!
//! # What ends with it
//!
//! Each program has a process group of its own. To be stopped, the group gets SIGTERM, and SIGKILL
//! after `cancel_grace` (3 s if the operation doesn't say, and never more than `jobs.cancel_grace`).
//! When the program has ended, what it left of its group is killed at once. So a program that starts
//! others waits for them, and none of them outlives its job; but one that leaves the group (`setsid`)
//! is free, and no longer waited for. When the server is killed, so are the groups (by `/bin/sh`, which
//! stands beside the server as soon as a first program has run).
//!
//! # The folder
//!
//! Every executable file in it is an operation, but for hidden ones and editors' backups. It's started
//! with the one argument `--skep-spec` and has 10 s to answer with one JSON object: the keys of a
//! declaration, without `command`, and `name`, by default the file's without its ending. A file that
//! knows nothing of that does what it does without a job, so only what is meant as one belongs there.
//! Relative paths are relative to the folder, which programs run in.
//!
//! A file that can't be served is left out, with a warning in the server's log: because it answers
//! badly, or because its name is taken, by a crate, by the configuration or by a file before it.
//!
//! The folder is looked through twice a second, and a file that is new or has changed is asked once
//! it has stayed the same from one look to the next. A job that runs goes on with the process that it
//! has. Replace a file by a rename (as `mv` and `install` do): a shell reads a script while it runs it.
//! While the folder can't be read, what it had is served.
//!
//! Whoever may write into the folder has programs run with the server's rights.
//!
//! # Where it is
//!
//! - `plugin.rs`: what is served, at the start and later
//! - `config.rs`: the configuration, and a declaration's keys
//! - `folder.rs` and `ask.rs`: the folder, and how a file is asked
//! - `operation.rs`: the handler
//! - `conversation.rs`: a job and its program, from the input to the end
//! - `protocol.rs`, `lines.rs` and `tail.rs`: what a program says
//! - `program.rs` and `process.rs`: what is started, and what runs
//! - `lifeline.rs`: what ends programs whose server was killed
//!
//! What is deliberately absent: a shell, a process that serves more than one job, and limits of memory
//! and processor time (start the program through `prlimit` or `systemd-run` for that).

mod ask;
mod config;
mod conversation;
mod folder;
mod lifeline;
mod lines;
mod operation;
mod plugin;
mod process;
mod program;
mod protocol;
mod tail;
