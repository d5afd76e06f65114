//! The worker's thread that computes: all texts together, a step at a time. Between two steps it takes
//! what it's asked for.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use skep::job::{LogLevel, Progress};
use skep::prelude::*;
use skep_engine::{Engine, EngineError, SequenceId, Step};

use crate::answer;
use crate::protocol::{Ask, Generate, Line, Load, Loaded, Request, Say, Token};
use crate::stdout::{json, say};

/// How often a load tells how far it is.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// Does what is asked for until there are no more requests, and nothing is under way.
pub(crate) fn compute(requests: &Receiver<Request>) {
    let mut computer = Computer::default();
    loop {
        if computer.texts.is_empty() {
            let Ok(request) = requests.recv() else { return };
            computer.take(request);
        }
        while let Ok(request) = requests.try_recv() {
            computer.take(request);
        }
        computer.advance();
    }
}

#[derive(Default)]
struct Computer {
    engine: Option<Engine>,
    /// The requests whose texts are under way.
    texts: HashMap<SequenceId, u64>,
}

impl Computer {
    fn take(&mut self, Request { id, ask }: Request) {
        match ask {
            Ask::Load(request) => match load(id, &request) {
                Ok((engine, loaded)) => {
                    self.engine = Some(engine);
                    say(id, Say::Result(json(&loaded)));
                }
                Err(error) => say(id, Say::Error(answer::problem(&error))),
            },
            Ask::Infer(generate) => self.begin(id, generate),
            Ask::Cancel(_) => self.cancel(id),
            // It's answered before it comes here, where it would wait.
            Ask::Ping(_) => {}
        }
    }

    fn begin(&mut self, id: u64, generate: Generate) {
        let Some(engine) = &mut self.engine else {
            let error = OperationError::new("worker-not-loaded", "the worker has no model");
            return say(id, Say::Error(error.into_problem()));
        };
        match engine.begin(&answer::request(generate)) {
            Ok(text) => {
                self.texts.insert(text, id);
            }
            Err(error) => say(id, Say::Error(answer::problem(&error))),
        }
    }

    fn cancel(&mut self, id: u64) {
        let text = self.texts.iter().find(|(_, of)| **of == id).map(|(text, _)| *text);
        // One that has ended meanwhile has had its last line.
        let Some((text, engine)) = text.zip(self.engine.as_mut()) else { return };
        self.texts.remove(&text);
        if let Some(generation) = engine.cancel(text) {
            say(id, Say::Result(json(&answer::answer(generation))));
        }
    }

    /// Computes the next step of all texts.
    fn advance(&mut self) {
        let Some(engine) = &mut self.engine else { return };
        let texts = &self.texts;
        let advanced = engine.advance(&mut |text, step| {
            if let Some(id) = texts.get(&text) {
                tell(*id, step);
            }
            ControlFlow::Continue(())
        });
        match advanced {
            Ok(ended) => {
                for (text, generation) in ended {
                    if let Some(id) = self.texts.remove(&text) {
                        say(id, Say::Result(json(&answer::answer(generation))));
                    }
                }
            }
            Err(error) => {
                let problem = answer::problem(&error);
                for (_, id) in self.texts.drain() {
                    say(id, Say::Error(problem.clone()));
                }
            }
        }
    }
}

fn tell(id: u64, step: Step<'_>) {
    match step {
        Step::Prompt { done, total } => {
            say(id, Say::Progress(Progress::new(done as u64, total as u64, "tokens")));
        }
        // Text that is held back is no news.
        Step::Token { text: "" } => {}
        Step::Token { text } => say(id, Say::Emit(json(&Token { text: text.to_owned() }))),
        _ => {}
    }
}

fn load(id: u64, load: &Load) -> Result<(Engine, Loaded), EngineError> {
    skep_engine::check_cpu()?;
    if let Some(missing) = skep_engine::missing_kernels() {
        let message = format!(
            "this build does without {missing}, which the processor has: answers are several times \
             slower than they could be (build with RUSTFLAGS=\"-C target-cpu=x86-64-v3\")"
        );
        say(id, Say::Log(Line { level: LogLevel::Warn, message }));
    }
    let started = Instant::now();
    let mut told: Option<Instant> = None;
    let mut progress = |done, total| {
        if done == total || told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            told = Some(Instant::now());
            say(id, Say::Progress(Progress::new(done, total, "bytes")));
        }
    };
    let engine = Engine::load(Path::new(&load.path), load.context, load.slots, &mut progress)?;
    let info = engine.info();
    let loaded = Loaded {
        context: info.context,
        threads: info.threads,
        load_ms: answer::milliseconds(started.elapsed()),
        slots: info.slots,
    };
    Ok((engine, loaded))
}
