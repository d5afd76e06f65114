//! Several texts under way at once.

use std::collections::HashMap;
use std::ops::ControlFlow;

use skep_engine::{
    DEFAULT_CONTEXT, Engine, EngineError, FinishReason, Generation, Sampling, SequenceId, Step,
};

use crate::model::{self, GEMMA3, SMOLLM2, generate, greedy};

fn load(name: &str, slots: usize) -> Engine {
    Engine::load(&model::path(name), DEFAULT_CONTEXT, slots, &mut |_, _| {}).unwrap()
}

/// Computes one step for all; adds those that have ended.
fn advance(engine: &mut Engine, ended: &mut HashMap<SequenceId, Generation>) {
    ended.extend(engine.advance(&mut |_, _| ControlFlow::Continue(())).unwrap());
}

fn rest(engine: &mut Engine) -> HashMap<SequenceId, Generation> {
    let mut ended = HashMap::new();
    while engine.is_busy() {
        advance(engine, &mut ended);
    }
    ended
}

#[test]
fn a_text_does_not_depend_on_those_beside_it() {
    for name in [SMOLLM2, GEMMA3] {
        let mut requests = vec![
            greedy("Once upon a time, there was", 40),
            greedy(&"Bees dance to tell where the flowers are. ".repeat(20), 12),
            greedy("1, 2, 3, 4, 5,", 25),
            greedy("The capital of France is", 9),
        ];
        requests[2].sampling = Sampling { seed: Some(7), ..Sampling::default() };
        let mut alone = load(name, 1);
        let expected: Vec<_> =
            requests.iter().map(|request| generate(&mut alone, request)).collect();

        // They come while the others are at different places.
        let mut engine = load(name, 4);
        let mut ended = HashMap::new();
        let mut ids = Vec::new();
        for request in &requests {
            ids.push(engine.begin(request).unwrap());
            for _ in 0..3 {
                advance(&mut engine, &mut ended);
            }
        }
        ended.extend(rest(&mut engine));
        for (id, expected) in ids.iter().zip(expected) {
            let together = &ended[id];
            assert_eq!(together.text, expected.text);
            assert_eq!(together.finish_reason, expected.finish_reason);
            assert_eq!(together.usage.completion_tokens, expected.usage.completion_tokens);
        }
    }
}

#[test]
fn those_that_write_go_on_while_a_long_prompt_is_read() {
    let mut engine = load(SMOLLM2, 2);
    let writes = engine.begin(&greedy("Once upon a time, there was", 200)).unwrap();
    engine.advance(&mut |_, _| ControlFlow::Continue(())).unwrap();
    let reads = engine.begin(&greedy(&"bees and flowers ".repeat(100), 1)).unwrap();
    let (mut parts, mut tokens, mut is_read) = (0, 0, false);
    while !is_read {
        let step = engine.advance(&mut |id, step| {
            match step {
                Step::Prompt { done, total } if id == reads => {
                    parts += 1;
                    is_read = done == total;
                }
                Step::Token { .. } if id == writes => tokens += 1,
                _ => {}
            }
            ControlFlow::Continue(())
        });
        step.unwrap();
    }
    // A token for each part, of which there are many.
    assert!(parts > 10, "{parts}");
    assert_eq!(tokens, parts);
}

#[test]
fn a_short_prompt_does_not_wait_for_a_long_one() {
    let mut engine = load(SMOLLM2, 2);
    let long = engine.begin(&greedy(&"bees and flowers ".repeat(200), 1)).unwrap();
    let short = engine.begin(&greedy("The capital of France is", 1)).unwrap();
    let mut ended = HashMap::new();
    advance(&mut engine, &mut ended);
    assert!(ended.contains_key(&short) && !ended.contains_key(&long));
}

#[test]
fn one_that_is_waited_for_alone_loses_no_other() {
    let mut engine = load(SMOLLM2, 2);
    let other = engine.begin(&greedy("The capital of France is", 1)).unwrap();
    assert_eq!(generate(&mut engine, &greedy("1, 2, 3,", 3)).text, " 4,");
    assert!(engine.is_busy());
    assert_eq!(rest(&mut engine)[&other].text, " Paris");
}

#[test]
fn conversations_that_alternate_keep_what_was_read() {
    let mut engine = load(SMOLLM2, 2);
    let mut texts = ["Bees fly from flower to flower, and", "Ships sail from port to port, and"]
        .map(ToOwned::to_owned);
    for text in &mut texts {
        let answer = generate(&mut engine, &greedy(text, 8));
        text.push_str(&answer.text);
    }
    for _ in 0..2 {
        for text in &mut texts {
            let answer = generate(&mut engine, &greedy(text, 8));
            let read = answer.usage.prompt_tokens - answer.usage.cached_tokens;
            assert!(read <= 2, "{:?}", answer.usage);
            text.push_str(&answer.text);
        }
    }
    // A third one takes the slot that was used the longest ago.
    generate(&mut engine, &greedy("Trains", 1));
    let kept = generate(&mut engine, &greedy(&texts[1], 1)).usage.cached_tokens;
    assert!(kept > 10, "{kept}");
    assert_eq!(generate(&mut engine, &greedy(&texts[0], 1)).usage.cached_tokens, 0);
}

#[test]
fn no_more_are_begun_than_there_are_slots() {
    let mut engine = load(SMOLLM2, 2);
    let story = greedy("Once upon a time, there was", 1000);
    let first = engine.begin(&story).unwrap();
    let second = engine.begin(&story).unwrap();
    for _ in 0..3 {
        engine.advance(&mut |_, _| ControlFlow::Continue(())).unwrap();
    }
    let error = engine.begin(&story).unwrap_err();
    assert!(matches!(error, EngineError::Busy { slots: 2 }), "{error}");

    let done = engine.cancel(first).unwrap();
    assert_eq!((done.finish_reason, &*done.text), (FinishReason::Cancelled, " a small town"));
    assert!(engine.cancel(first).is_none());
    let third = engine.begin(&greedy("The capital of France is", 2)).unwrap();
    let ended = engine.advance(&mut |id, _| {
        if id == second { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let ended = ended.unwrap();
    assert_eq!((ended.len(), ended[0].0), (1, second));
    assert_eq!(ended[0].1.usage.completion_tokens, 4);
    let rest = rest(&mut engine);
    assert_eq!((rest.len(), rest[&third].usage.completion_tokens), (1, 2));
    assert!(engine.advance(&mut |_, _| ControlFlow::Continue(())).unwrap().is_empty());
}
