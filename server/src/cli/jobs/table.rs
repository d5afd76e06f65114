//! Jobs as a table, for people.

use jiff::{SignedDuration, Timestamp};
use skep::job::JobSummary;

const HEAD: [&str; 5] = ["JOB", "OPERATION", "STATE", "AGE", "TOOK"];

/// A line a job, under a head, as things are at `now`.
pub(super) fn render(jobs: &[JobSummary], now: Timestamp) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(jobs.iter().map(|job| {
        let age = short(now.duration_since(job.created_at));
        [job.id.to_string(), job.operation.clone(), state(job, now), age, took(job, now)]
    }));
    let mut widths = [0; HEAD.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; HEAD.len()]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// The state, and what makes it another than expected.
fn state(job: &JobSummary, now: Timestamp) -> String {
    let mut text = job.state.as_str().to_owned();
    if let Some(code) = &job.error_code {
        text += &format!(" ({code})");
    }
    if job.attempt > 1 {
        text += &format!(", attempt {}", job.attempt);
    }
    if let Some(at) = job.run_at.filter(|at| !job.state.is_end() && *at > now) {
        text += &format!(", in {}", short(at.duration_since(now)));
    }
    text
}

/// How long it has run, since its first start.
fn took(job: &JobSummary, now: Timestamp) -> String {
    let end = job.ended_at.unwrap_or(now);
    job.started_at.map_or_else(|| "-".to_owned(), |start| short(end.duration_since(start)))
}

/// A duration by its two largest units.
fn short(duration: SignedDuration) -> String {
    // Another machine's clock may be a little ahead.
    let duration = duration.max(SignedDuration::ZERO);
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match seconds {
        0 => format!("{}ms", duration.subsec_millis()),
        1..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A job of `operation`, which was made at 12:00, with these fields more.
    fn job(operation: &str, state: &str, more: &Value) -> JobSummary {
        let mut job = json!({
            "job_id": "01890a5d-ac96-774b-bcce-b302099a8057", "operation": operation,
            "state": state, "attempt": 1, "priority": "normal",
            "created_at": "2030-01-31T12:00:00Z", "last_event": 0,
        });
        for (name, value) in more.as_object().unwrap() {
            job[name] = value.clone();
        }
        serde_json::from_value(job).unwrap()
    }

    #[test]
    fn a_table_is_aligned_and_says_what_is_unusual() {
        let (start, now) = ("2030-01-31T12:00:01Z", "2030-01-31T12:01:40.25Z");
        let jobs = [
            job("echo", "succeeded", &json!({ "started_at": start, "ended_at": start })),
            job("model_download", "running", &json!({ "started_at": start, "attempt": 2 })),
            job(
                "infer",
                "failed",
                &json!({ "error_code": "timeout", "started_at": start,
                "ended_at": "2030-01-31T12:00:31Z" }),
            ),
            job("echo", "scheduled", &json!({ "run_at": "2030-01-31T14:02:00Z" })),
            job("echo", "cancelled", &json!({ "created_at": "2030-01-28T11:00:00Z" })),
        ];
        insta::assert_snapshot!(render(&jobs, now.parse().unwrap()));
    }
}
