//! What is printed: a table a work, and what became of the goals.

use serde_json::{Value, json};

use crate::contender::Contender::{Before, Floor};
use crate::goals::{Bound, Goal};
use crate::rounds::Figures;
use crate::suite::Item;

/// The table of one work, as Markdown.
pub(crate) fn table(title: &str, figures: &Figures) -> String {
    let mut text = format!(
        "\n### {title}\n\n| figure | who | median | min to max | of floor | of before |\n|---|---|--:|--:|--:|--:|\n"
    );
    for (figure, who, spread) in figures.all() {
        let of = |other: &str| match figures.spread(figure, other) {
            Some(other) if other.median > 0.0 => number(spread.median / other.median),
            _ => String::new(),
        };
        text += &format!(
            "| {figure} | {who} | {} | {} to {} | {} | {} |\n",
            number(spread.median),
            number(spread.min),
            number(spread.max),
            of(Floor.name()),
            of(Before.name()),
        );
    }
    text
}

/// What became of the goals of one work, a line each.
pub(crate) fn goals(item: &Item, figures: &Figures) -> Vec<String> {
    item.goals.iter().filter_map(|goal| line(item.name, goal, figures)).collect()
}

fn line(work: &str, goal: &Goal, figures: &Figures) -> Option<String> {
    let own = figures.spread(goal.figure, goal.who.name())?.median;
    let (value, of) = match goal.of {
        Some(other) => (
            own / figures.spread(goal.figure, other.name())?.median,
            format!(" of {}", other.name()),
        ),
        None => (own, String::new()),
    };
    let (sign, border) = match goal.must {
        Bound::AtLeast(border) => (">=", border),
        Bound::AtMost(border) => ("<=", border),
    };
    let verdict = match (goal.must.holds(value), goal.must.reaches(value, goal.aim)) {
        (true, true) => "aim reached",
        (true, false) => "holds",
        _ => "**missed**",
    };
    Some(format!(
        "| {work}: {}, {}{of} | {sign} {border} | {} | **{}** | {verdict} |",
        goal.figure,
        goal.who.name(),
        goal.aim,
        number(value),
    ))
}

/// The head of the goals' table.
pub(crate) const GOALS: &str = "\n| work | must | aim | measured | |\n|---|--:|--:|--:|---|";

/// A work's figures, for programs.
pub(crate) fn json(name: &str, title: &str, figures: &Figures) -> Value {
    json!({ "work": name, "title": title, "figures": self::figures(figures) })
}

/// Figures, for programs.
pub(crate) fn figures(figures: &Figures) -> Value {
    figures
        .all()
        .map(|(figure, who, spread)| json!({ "figure": figure, "who": who, "spread": spread }))
        .collect()
}

/// A number with three digits that mean something.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        large if large >= 100.0 => 0,
        large if large >= 10.0 => 1,
        large if large >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) =
        text.split_once('.').map_or((&*text, ""), |(whole, _)| (whole, &text[whole.len()..]));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 && digit.is_ascii_digit() && grouped != "-" {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

/// A power of ten: what is after the point says nothing there.
pub(crate) fn power(value: f64) -> String {
    let text = number(value);
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_mean_something() {
        for (value, text) in [
            (1_234_567.8, "1,234,568"),
            (123.4, "123"),
            (12.34, "12.3"),
            (1.234, "1.23"),
            (0.1234, "0.123"),
            (-1234.0, "-1,234"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn powers_of_ten_have_no_digits_that_say_nothing() {
        for (value, text) in
            [(0.001, "0.001"), (0.1, "0.1"), (1.0, "1"), (10.0, "10"), (1e6, "1,000,000")]
        {
            assert_eq!(power(value), text);
        }
    }
}
