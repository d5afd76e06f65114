//! Sweeps: what a thing costs as the number of something grows, as far as it goes.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::Result;
use crate::client::Protocol;
use crate::contender::Contender::{self, Before, Floor, Many, Memory, Sqlite};
use crate::contender::Place;
use crate::plot::{Line, Plot};
use crate::report::{self, power};
use crate::rounds::{Figures, Sample};
use crate::work::idle::{self, Jobs};
use crate::work::{in_flight, operations, readers, stored, stream};

/// What grows, and what is drawn of it.
pub(crate) struct Sweep {
    pub(crate) name: &'static str,
    along: Along,
    /// What grows, in words.
    axis: &'static str,
    /// How far: each mark is ten times the one before it.
    marks: &'static [u64],
    contenders: &'static [Contender],
    drawings: &'static [Drawing],
}

/// What grows.
#[derive(Clone, Copy)]
enum Along {
    Events,
    InFlight,
    Readers,
    Stored,
    Operations,
}

/// A figure that is drawn.
struct Drawing {
    figure: &'static str,
    /// The file's name without its ending.
    file: &'static str,
    title: &'static str,
    /// The figure in words, with its unit.
    axis: &'static str,
}

/// What a sweep has come to.
pub(crate) struct Curves {
    sweep: Sweep,
    by_mark: BTreeMap<u64, Figures>,
}

/// All sweeps.
pub(crate) fn all() -> Vec<Sweep> {
    vec![
        Sweep {
            name: "events",
            along: Along::Events,
            axis: "events in the job",
            marks: &[10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000],
            contenders: &[Floor, Before, Memory, Sqlite],
            drawings: &[Drawing {
                figure: "CPU us/event",
                file: "events",
                title: "An event, its share of the whole job included",
                axis: "server CPU per event, us",
            }],
        },
        Sweep {
            name: "in-flight",
            along: Along::InFlight,
            axis: "jobs in flight, each with a reader",
            marks: &[10, 100, 1_000, 10_000],
            contenders: &[Floor, Before, Memory],
            drawings: &[
                Drawing {
                    figure: "KiB/stream",
                    file: "in-flight-memory",
                    title: "A job in flight that is idle",
                    axis: "server memory per job and its stream, KiB",
                },
                Drawing {
                    figure: "CPU us/event",
                    file: "in-flight-cpu",
                    title: "An event, of 10,000 a second from all jobs together",
                    axis: "server CPU per event, us",
                },
            ],
        },
        Sweep {
            name: "readers",
            along: Along::Readers,
            axis: "readers of the job",
            marks: &[1, 10, 100, 1_000],
            contenders: &[Floor, Before, Memory, Sqlite],
            drawings: &[Drawing {
                figure: "CPU us/delivery",
                file: "readers",
                title: "An event's delivery to one of many readers",
                axis: "server CPU per delivery, us",
            }],
        },
        Sweep {
            name: "stored",
            along: Along::Stored,
            axis: "jobs that have ended and are kept",
            marks: &[100, 1_000, 10_000, 100_000, 1_000_000],
            contenders: &[Memory, Sqlite],
            drawings: &[
                Drawing {
                    figure: "CPU us/job",
                    file: "stored-job",
                    title: "A whole job of 3 events, beside jobs that are kept",
                    axis: "server CPU per job, us",
                },
                Drawing {
                    figure: "CPU us/page",
                    file: "stored-page",
                    title: "A page of the list of jobs, the newest 50",
                    axis: "server CPU per page, us",
                },
            ],
        },
        Sweep {
            name: "operations",
            along: Along::Operations,
            axis: "operations, called by turns",
            marks: &[10, 100, 1_000, 10_000],
            contenders: &[Many],
            drawings: &[Drawing {
                figure: "CPU us/job",
                file: "operations",
                title: "A whole job of 3 events, of one of many operations",
                axis: "server CPU per job, us",
            }],
        },
    ]
}

/// How many events are measured where a job has fewer, and how many jobs at most.
const EVENTS: (u64, u64) = (2_000_000, 20_000);

/// How many deliveries are measured.
const DELIVERIES: u64 = 2_000_000;

impl Sweep {
    /// Every contender has its turn at each mark, so many times.
    pub(crate) async fn measure(self, place: &Place, rounds: usize) -> Result<Curves> {
        let mut by_mark: BTreeMap<_, Figures> = BTreeMap::new();
        for round in 1..=rounds {
            for marks in self.legs() {
                for contender in self.contenders.iter().filter(|who| self.goes(**who, marks)) {
                    let name = contender.name();
                    eprintln!("  {} {marks:?} {round}/{rounds}: {name}", self.name);
                    let samples = self.samples(*contender, place, marks).await;
                    let samples = samples.map_err(|error| format!("{name}: {error}"))?;
                    for (mark, sample) in marks.iter().zip(samples) {
                        by_mark.entry(*mark).or_default().add(name, sample);
                    }
                }
            }
        }
        Ok(Curves { sweep: self, by_mark })
    }

    /// The marks that one server passes in one turn.
    fn legs(&self) -> impl Iterator<Item = &'static [u64]> + use<> {
        let length = if let Along::Stored = self.along { self.marks.len() } else { 1 };
        self.marks.chunks(length)
    }

    /// Whether a contender goes as far as that.
    fn goes(&self, who: Contender, marks: &[u64]) -> bool {
        // It keeps in memory whatever its reader hasn't taken yet.
        !(matches!(self.along, Along::Events) && who == Before && marks[0] > 1_000_000)
    }

    /// One turn: a sample a mark.
    async fn samples(&self, who: Contender, place: &Place, marks: &[u64]) -> Result<Vec<Sample>> {
        let mark = marks[0];
        let count = usize::try_from(mark)?;
        let sample = match self.along {
            Along::Events => {
                let jobs = (EVENTS.0 / mark).clamp(1, EVENTS.1);
                stream::sample(who, place, Protocol::Http1, 1, jobs, mark).await?
            }
            Along::InFlight => {
                let mut sample = idle::sample(who, place, count, Jobs::Each).await?;
                sample.extend(in_flight::sample(who, place, mark).await?);
                sample
            }
            Along::Readers => readers::sample(who, place, count, DELIVERIES / mark, 0).await?,
            Along::Stored => return stored::samples(who, place, marks).await,
            Along::Operations => operations::sample(who, place, count, 16, 20_000).await?,
        };
        Ok(vec![sample])
    }
}

impl Curves {
    /// A table a mark, as Markdown.
    pub(crate) fn tables(&self) -> String {
        let title = |mark: u64| format!("{}: {}", self.sweep.axis, power(mark as f64));
        self.by_mark.iter().map(|(mark, figures)| report::table(&title(*mark), figures)).collect()
    }

    /// All figures, for programs.
    pub(crate) fn json(&self) -> Value {
        let Sweep { name, axis, .. } = self.sweep;
        let mark = |(mark, figures): (&u64, &Figures)| json!({ "at": mark, "figures": report::figures(figures) });
        let marks: Vec<_> = self.by_mark.iter().map(mark).collect();
        json!({ "sweep": name, "axis": axis, "marks": marks })
    }

    /// Draws into a directory.
    pub(crate) fn draw(&self, directory: &Path) -> Result<()> {
        for drawing in self.sweep.drawings {
            let lines = self.sweep.contenders.iter().map(|who| self.line(drawing.figure, *who));
            let plot = Plot {
                title: drawing.title,
                x_axis: self.sweep.axis,
                y_axis: drawing.axis,
                lines: lines.collect(),
            };
            plot.draw(&directory.join(drawing.file).with_extension("svg"))?;
        }
        Ok(())
    }

    /// One contender's medians.
    fn line(&self, figure: &str, who: Contender) -> Line {
        let point = |(mark, figures): (&u64, &Figures)| {
            Some((*mark as f64, figures.spread(figure, who.name())?.median))
        };
        Line { who, points: self.by_mark.iter().filter_map(point).collect() }
    }
}
