//! What a block says that a command prints.

use std::sync::LazyLock;

use regex::Regex;

/// What a command should print, as a pattern.
pub(super) struct Expected {
    pattern: Regex,
    /// Nothing is shown.
    pub(super) is_nothing: bool,
    /// What is shown is a refusal, so that the command may fail.
    pub(super) is_refusal: bool,
    /// What is shown has lines that a server says.
    pub(super) has_servers: bool,
}

/// What differs each time, and what stands for it.
static VARIABLE: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID"),
        (r"(127\.0\.0\.1|localhost):\d+", "SERVER"),
        (r"\b\d+\.\d+\.\d+\b", "VERSION"),
        (r"\b\d+(\.\d+)? ?(ms|µs)\b|\b\d+\.\d+ ?s\b", "SPAN"),
    ]
    .into_iter()
    .map(|(pattern, name)| (Regex::new(pattern).expect("a pattern"), name))
    .collect()
});

/// `text` without what differs each time, and without blanks at its lines' ends.
fn settled(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    let text = format!("{}\n", lines.join("\n").trim_end());
    VARIABLE.iter().fold(text, |text, (variable, name)| variable.replace_all(&text, *name).into())
}

impl Expected {
    /// Reads what a block shows.
    pub(super) fn parse(shown: &str) -> Self {
        let any = |is: fn(&str) -> bool| shown.lines().any(is);
        let is_refusal = any(|line| {
            ["skep: ", "failed: ", "cancelled"].iter().any(|start| line.starts_with(start))
        });
        let has_servers = any(|line| {
            line.starts_with("skep dev: ") || line.contains(" INFO ") || line.contains(" WARN ")
        });
        let is_nothing = shown.trim().is_empty();
        let lines = settled(shown);
        let lines = lines.lines().map(|line| match line {
            "..." => r"(?:[^\n]*\n)*?".to_owned(),
            line => format!("{}\n", regex::escape(line).replace(r"\.\.\.", r"[^\n]*")),
        });
        let pattern = Regex::new(&format!("^{}$", lines.collect::<String>())).expect("a pattern");
        Self { pattern, is_nothing, is_refusal, has_servers }
    }

    /// Whether `printed` is that.
    pub(super) fn is_met(&self, printed: &str) -> bool {
        self.pattern.is_match(&settled(printed))
    }
}

#[test]
fn what_differs_each_time_may_and_all_else_must_not() {
    let shown = "listening on http://127.0.0.1:7833\n...\nbuilt in 2.1 s\nend of ...\n";
    let expected = Expected::parse(shown);
    let first = "listening on http://127.0.0.1:43210\nbuilt in 12.0 s\nend of all\n\n";
    let second = "listening on http://localhost:1\na\nb\nbuilt in 0.3 s\nend of it\n";
    assert!(expected.is_met(first) && expected.is_met(second));
    assert!(!expected.is_met("listening on http://example.org\nbuilt in 0.3 s\nend of it\n"));
    assert!(!expected.is_met(&first.replace("all", "all\nand more")));
    assert!(Expected::parse("").is_met("\n") && !Expected::parse("").is_met("a word\n"));
}
