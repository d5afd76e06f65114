//! Models for a machine that has none: small enough for most, and of architectures that the built-in engine
//! computes.

use std::io;

use serde_json::Value;

use crate::cli::Error;
use crate::cli::chat::Person;
use crate::cli::client::Client;
use crate::cli::interrupt::unless_interrupted;

/// A model of the hub.
struct Suggestion {
    name: &'static str,
    source: &'static str,
    /// The file's size, rounded up.
    megabytes: u64,
    /// The memory that it takes with one full context of a worker, as that reckons, megabytes.
    memory: u64,
}

/// The smallest first.
const SUGGESTIONS: [Suggestion; 5] = [
    Suggestion {
        name: "SmolLM2 360M",
        source: "hf:HuggingFaceTB/SmolLM2-360M-Instruct-GGUF/smollm2-360m-instruct-q8_0.gguf",
        megabytes: 390,
        memory: 760,
    },
    Suggestion {
        name: "Gemma 3 1B",
        source: "hf:ggml-org/gemma-3-1b-it-GGUF/gemma-3-1b-it-Q4_K_M.gguf",
        megabytes: 810,
        memory: 1350,
    },
    Suggestion {
        name: "Llama 3.2 3B",
        source: "hf:bartowski/Llama-3.2-3B-Instruct-GGUF/Llama-3.2-3B-Instruct-Q4_K_M.gguf",
        megabytes: 2020,
        memory: 3780,
    },
    Suggestion {
        name: "Gemma 3 4B",
        source: "hf:ggml-org/gemma-3-4b-it-GGUF/gemma-3-4b-it-Q4_K_M.gguf",
        megabytes: 2490,
        memory: 4640,
    },
    Suggestion {
        name: "Llama 3.1 8B",
        source: "hf:bartowski/Meta-Llama-3.1-8B-Instruct-GGUF/Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf",
        megabytes: 4930,
        memory: 7980,
    },
];

/// Which one is taken for an empty line, if it fits: it answers well, and soon also without a GPU.
const USUAL: usize = 1;

/// Asks where a model is. `None` if there's no answer.
pub(super) async fn ask(client: &Client, person: &mut Person) -> Result<Option<String>, Error> {
    let free = unless_interrupted(free_memory(client)).await?;
    let fitting = fitting(free);
    person.tell("There is no model yet.")?;
    let mut number = String::new();
    if let Some(last) = fitting.len().checked_sub(1) {
        person.tell(if free.is_some() { "These fit into the memory:" } else { "Some are:" })?;
        list(fitting, person)?;
        number = format!("a number, or an empty line for {}; ", last.min(USUAL) + 1);
    }
    let prompt = format!("Which one ({number}hf:OWNER/REPO/FILE.gguf, https://..., a file)? ");
    loop {
        let Some(answer) = person.ask(&prompt).await? else { return Ok(None) };
        // Who sees no list has chosen nothing of it.
        if answer.is_empty() && (fitting.is_empty() || !person.is_there()) {
            return Ok(None);
        }
        match pick(fitting, &answer) {
            Ok(source) => return Ok(Some(source)),
            Err(why) if !person.is_there() => return Err(why.into()),
            Err(why) => person.tell(&why)?,
        }
    }
}

fn list(fitting: &[Suggestion], person: &Person) -> io::Result<()> {
    for (number, Suggestion { name, megabytes, .. }) in (1..).zip(fitting) {
        let tenths = megabytes.div_ceil(100);
        person.tell(&format!("  {number}  {name:<13} {}.{} GB", tenths / 10, tenths % 10))?;
    }
    Ok(())
}

/// Where the model is that the person means.
fn pick(fitting: &[Suggestion], answer: &str) -> Result<String, String> {
    let number = if answer.is_empty() {
        fitting.len().min(USUAL + 1)
    } else if let Ok(number) = answer.parse() {
        number
    } else {
        return Ok(answer.to_owned());
    };
    let wanted = number.checked_sub(1).and_then(|index: usize| fitting.get(index));
    match wanted {
        Some(suggestion) => Ok(suggestion.source.to_owned()),
        None => Err(format!("there is no number {number}")),
    }
}

/// Those that fit into so much memory, bytes; all if it isn't known.
fn fitting(free: Option<u64>) -> &'static [Suggestion] {
    let fits =
        |suggestion: &Suggestion| free.is_none_or(|free| suggestion.memory * 1_000_000 <= free);
    let count = SUGGESTIONS.iter().take_while(|suggestion| fits(suggestion)).count();
    &SUGGESTIONS[..count]
}

/// How much memory the server's machine can give, bytes; `None` if it doesn't tell.
async fn free_memory(client: &Client) -> Result<Option<u64>, Error> {
    let status = client.call("status", &Value::Object(serde_json::Map::new())).await?;
    Ok(status["hives"][0]["capacity"]["memory_free"].as_u64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1_000_000_000;

    #[test]
    fn what_fits_is_offered_the_smallest_first() {
        assert!(SUGGESTIONS.is_sorted_by_key(|suggestion| suggestion.megabytes));
        let counts = [0, 1, 2, 3, 4, 8].map(|gigabytes| fitting(Some(gigabytes * GB)).len());
        assert_eq!(counts, [0, 1, 2, 2, 3, 5]);
        assert_eq!(fitting(None).len(), 5);
    }

    #[test]
    fn a_number_is_one_of_those_and_all_else_is_where_a_model_is() {
        let all = fitting(None);
        assert_eq!(pick(all, "1").unwrap(), all[0].source);
        assert_eq!(pick(all, "").unwrap(), all[USUAL].source);
        assert_eq!(pick(&all[..1], "").unwrap(), all[0].source);
        assert_eq!(pick(all, "hf:a/b/c.gguf").unwrap(), "hf:a/b/c.gguf");
        for none in ["0", "6"] {
            assert_eq!(pick(all, none).unwrap_err(), format!("there is no number {none}"));
        }
        assert!(pick(&[], "").is_err());
    }
}
