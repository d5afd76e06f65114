//! Following a job to its end, whatever becomes of the connection.

use std::process::ExitCode;

use skep::JobId;
use skep::job::End;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::client::Client;
use crate::cli::events::Update;
use crate::cli::interrupt::INTERRUPTED;
use crate::cli::printer::Printer;
use crate::cli::{Error, with_causes};

/// What Ctrl-C does to a job that is followed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OnInterrupt {
    /// Cancels it, and follows it to its end. The second one ends the program.
    Cancel,
    /// Leaves it alone, and ends the program.
    Leave,
}

/// What became of a job that was followed.
pub(super) enum Followed {
    /// It has ended.
    Ended(End),
    /// Ctrl-C has cancelled it.
    Cancelled,
    /// Ctrl-C has ended the following; the job may go on.
    Left,
}

/// Prints the events of job `id` from its first one to its end. Success is the job's.
pub(super) async fn follow(
    client: &Client,
    id: JobId,
    printer: Printer,
    on_interrupt: OnInterrupt,
) -> Result<ExitCode, Error> {
    Ok(match watch(client, id, printer, on_interrupt).await? {
        Followed::Ended(End::Succeeded { .. }) => ExitCode::SUCCESS,
        Followed::Ended(_) => ExitCode::FAILURE,
        Followed::Cancelled | Followed::Left => INTERRUPTED.into(),
    })
}

/// The same, and tells what became of it.
pub(super) async fn watch(
    client: &Client,
    id: JobId,
    mut printer: Printer,
    on_interrupt: OnInterrupt,
) -> Result<Followed, Error> {
    // Listened to from here on, so that none is lost while an event is printed.
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut events = client.events(id);
    let mut cancelled = false;
    loop {
        let update = tokio::select! {
            update = events.next() => update?,
            _ = interrupts.recv() => {
                if on_interrupt == OnInterrupt::Leave {
                    printer.note(&format!("the job goes on: `skep jobs cancel {id}` ends it"))?;
                    return Ok(Followed::Left);
                }
                if std::mem::replace(&mut cancelled, true) {
                    return Ok(Followed::Left);
                }
                let asked = tokio::select! {
                    asked = client.cancel(id) => asked,
                    _ = interrupts.recv() => return Ok(Followed::Left),
                };
                if let Err(error) = asked {
                    let error = with_causes(&*error);
                    let hint = format!("the job may go on, `skep jobs cancel {id}` ends it");
                    return Err(format!("{error}; {hint}").into());
                }
                // One that has ended in the meantime tells how by its stream.
                continue;
            }
        };
        let event = match update {
            Update::Event(event) => event,
            Update::Lost => {
                printer.note("the connection is lost, trying again")?;
                continue;
            }
            Update::Ended => return Err("the job's stream ended without its end".into()),
        };
        if let Some(end) = printer.print(event)? {
            return Ok(match end {
                End::Cancelled if cancelled => Followed::Cancelled,
                end => Followed::Ended(end),
            });
        }
    }
}
