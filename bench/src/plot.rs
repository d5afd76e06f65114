//! A plot of cost against work, on two logarithmic axes: what's flat costs the same however much there is.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::Result;
use crate::contender::Contender;
use crate::report::power;

/// A line a contender.
pub(crate) struct Plot<'a> {
    pub(crate) title: &'a str,
    pub(crate) x_axis: &'a str,
    pub(crate) y_axis: &'a str,
    pub(crate) lines: Vec<Line>,
}

/// The points of one contender, from left to right. Both coordinates are above 0.
pub(crate) struct Line {
    pub(crate) who: Contender,
    pub(crate) points: Vec<(f64, f64)>,
}

const SIZE: (u32, u32) = (860, 480);

/// How much of the width is for the names of the lines.
const LEGEND: u32 = 170;

const FONT: &str = "sans-serif";

impl Plot<'_> {
    /// Draws it, as SVG.
    pub(crate) fn draw(&self, file: &Path) -> Result<()> {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let across = decades(points().map(|point| point.0));
        let up = decades(points().map(|point| point.1));
        let whole = SVGBackend::new(file, SIZE).into_drawing_area();
        whole.fill(&WHITE)?;
        let (left, right) = whole.split_horizontally(SIZE.0 - LEGEND);
        let mut chart = ChartBuilder::on(&left)
            .caption(self.title, (FONT, 24))
            .margin(16)
            .x_label_area_size(48)
            .y_label_area_size(72)
            .build_cartesian_2d(across.log_scale(), up.log_scale())?;
        chart
            .configure_mesh()
            .x_desc(self.x_axis)
            .y_desc(self.y_axis)
            .x_label_formatter(&|x| power(*x))
            .y_label_formatter(&|y| power(*y))
            // Nine between two powers of ten, also if there are only two.
            .max_light_lines(6)
            .label_style((FONT, 16))
            .axis_desc_style((FONT, 18))
            .draw()?;
        for (Line { who, points }, at) in self.lines.iter().zip(0..) {
            let colour = colour(*who);
            let style = colour.filled().stroke_width(2);
            chart.draw_series(LineSeries::new(points.iter().copied(), style).point_size(4))?;
            let y = 60 + 26 * at;
            right.draw(&Circle::new((8, y), 5, colour.filled()))?;
            let style = (FONT, 18).into_text_style(&right).pos(Pos::new(HPos::Left, VPos::Center));
            right.draw(&Text::new(who.name(), (20, y), style))?;
        }
        whole.present()?;
        Ok(())
    }
}

/// The powers of ten around some values.
fn decades(values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let logs: Vec<_> = values.map(f64::log10).collect();
    let low = logs.iter().copied().fold(f64::INFINITY, f64::min).floor();
    let high = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max).ceil();
    // A hair more, so that neither end is lost to rounding.
    10f64.powf(low) * 0.999_999..10f64.powf(high.max(low + 1.0)) * 1.000_001
}

/// A contender's colour, the same in all plots; apart for the colour-blind, too (Okabe and Ito).
fn colour(who: Contender) -> RGBColor {
    match who {
        Contender::Floor => RGBColor(120, 120, 120),
        Contender::Memory | Contender::Many | Contender::Custom => RGBColor(0, 114, 178),
        Contender::Sqlite => RGBColor(0, 158, 115),
        // A peer: no plot has two.
        _ => RGBColor(213, 94, 0),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_plot_names_its_lines_its_axes_and_their_powers_of_ten() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("plot.svg");
        let line = |who, y: f64| Line { who, points: vec![(10.0, y), (1000.0, y * 3.0)] };
        let lines = vec![line(Contender::Floor, 0.02), line(Contender::Before, 0.4)];
        let plot = Plot { title: "An event", x_axis: "events", y_axis: "CPU, us", lines };
        plot.draw(&file).unwrap();
        let drawn = fs::read_to_string(file).unwrap();
        for text in ["An event", "events", "CPU, us", "floor", "before", "10", "1,000", "0.01"] {
            assert!(drawn.lines().any(|line| line.trim() == text), "no {text} in {drawn}");
        }
    }
}
