//! A plugin of Skep: the operation `my_plugin`. A server that names this crate serves it:
//! `use my_plugin as _;`.

use std::sync::atomic::{AtomicU64, Ordering};

use skep::prelude::*;

/// The configuration: the table `[plugins.my-plugin]` of `skep.toml`.
#[skep::data]
#[serde(default)]
struct Config {
    /// What each word ends in.
    ending: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ending: "!".to_owned(),
        }
    }
}

/// What was said.
#[skep::data]
struct Said {
    /// How many words.
    words: u64,
    /// How many texts the server has said by now.
    count: u64,
}

/// The state: one for all jobs, for as long as the server runs.
struct MyPlugin {
    config: Config,
    count: AtomicU64,
}

/// Say texts, a word at a time.
#[skep::plugin(name = "my-plugin", config = Config)]
impl MyPlugin {
    async fn start(cx: PluginContext<Config>) -> Result<Self> {
        Ok(Self {
            config: cx.config,
            count: AtomicU64::new(0),
        })
    }

    /// Say a text, a word at a time.
    #[operation(read_only)]
    async fn my_plugin(
        &self,
        /// What to say.
        #[schemars(length(min = 1))]
        text: String,
        job: &JobContext,
    ) -> Result<Said> {
        let mut words = 0;
        for word in text.split_whitespace() {
            job.emit(&format!("{word}{}", self.config.ending)).await?;
            words += 1;
        }
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Said { words, count })
    }
}
