//! What a client names: where a model comes from.

use std::fmt;
use std::path::Path;

use skep::prelude::*;
use url::Url;

use crate::id::ModelId;

const NO_FILE: &str = "a file of the server's own machine is `file:///PATH`";

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// `file:///...`: the path of a file of the server's own machine.
    File(String),
    /// Another machine.
    Remote(Remote),
}

/// Where on another machine a file is, as the client named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Remote {
    /// `hf:OWNER/REPO/FILE.gguf`, of a revision other than `main` as `hf:OWNER/REPO@REVISION/FILE.gguf`.
    Hub { owner: String, repo: String, revision: Option<String>, file: String },
    /// `https://...`, or `http://...` of a host that the configuration allows.
    Web(Url),
}

impl Source {
    /// Reads `text`.
    ///
    /// # Errors
    /// `invalid-source`, which says what it has to look like.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("hf:") {
            let hub = hub(path).ok_or_else(|| {
                let reason = "a file of the hub is `hf:OWNER/REPO/FILE.gguf`, or of a revision \
                              `hf:OWNER/REPO@REVISION/FILE.gguf`";
                invalid(text, reason)
            });
            return hub.map(Self::Remote);
        }
        let url = Url::parse(text).map_err(|error| {
            let reason = format!("it's none of `hf:...`, `https://...`, `file:///...` ({error})");
            invalid(text, &reason)
        })?;
        // What is shown, logged and kept has no secrets in it.
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("the address", "it has a user or a password in it"));
        }
        match url.scheme() {
            "https" | "http" => Ok(Self::Remote(Remote::Web(url))),
            // A relative path would be taken from the root.
            "file" if !text.starts_with("file:///") => Err(invalid(text, NO_FILE)),
            "file" => match url.to_file_path().map(|path| path.into_os_string().into_string()) {
                Ok(Ok(path)) => Ok(Self::File(path)),
                _ => Err(invalid(text, NO_FILE)),
            },
            scheme => Err(invalid(text, &format!("`{scheme}:` is not supported"))),
        }
    }
}

impl Remote {
    /// What the model is called if the client doesn't say.
    pub(crate) fn suggested_id(&self) -> Option<ModelId> {
        ModelId::suggested_by(Path::new(&self.file_name()))
    }

    /// The file's name, without the directories before it.
    pub(crate) fn file_name(&self) -> String {
        let name = match self {
            Self::Hub { file, .. } => file.rsplit('/').next(),
            Self::Web(url) => url.path_segments().and_then(|mut segments| segments.next_back()),
        };
        name.unwrap_or_default().to_owned()
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub { owner, repo, revision, file } => {
                write!(f, "hf:{owner}/{repo}")?;
                if let Some(revision) = revision {
                    write!(f, "@{revision}")?;
                }
                write!(f, "/{file}")
            }
            Self::Web(url) => url.fmt(f),
        }
    }
}

fn hub(path: &str) -> Option<Remote> {
    let (owner, rest) = path.split_once('/')?;
    let (repo, file) = rest.split_once('/')?;
    let (repo, revision) = match repo.split_once('@') {
        Some((repo, revision)) => (repo, Some(revision)),
        None => (repo, None),
    };
    let fits = |part: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !part.is_empty() && part.chars().all(is_plain) && !matches!(part, "." | "..")
    };
    let parts = [owner, repo].into_iter().chain(revision).chain(file.split('/'));
    parts.into_iter().all(fits).then(|| Remote::Hub {
        owner: owner.to_owned(),
        repo: repo.to_owned(),
        revision: revision.map(str::to_owned),
        file: file.to_owned(),
    })
}

fn invalid(source: &str, reason: &str) -> OperationError {
    let detail = format!("{source} can't be downloaded: {reason}");
    OperationError::new("invalid-source", detail).with_status(422)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(text: &str) -> Remote {
        match Source::parse(text).unwrap() {
            Source::Remote(remote) => remote,
            Source::File(path) => panic!("{path} is not remote"),
        }
    }

    #[test]
    fn a_source_is_shown_as_it_was_asked_for() {
        for text in [
            "hf:owner/repo/model.gguf",
            "hf:owner/repo@v1.0/quantised/model.Q4_1.gguf",
            "https://example.org/models/a.gguf?download=true",
            "http://example.org/a.gguf",
        ] {
            assert_eq!(remote(text).to_string(), text);
        }
        let file = Source::parse("file:///models/a%20b.gguf").unwrap();
        assert_eq!(file, Source::File("/models/a b.gguf".to_owned()));
    }

    #[test]
    fn what_names_no_file_is_refused() {
        for text in [
            "",
            "a.gguf",
            "hf:",
            "hf:owner/repo",
            "hf:owner/repo/",
            "hf:owner/../a.gguf",
            "hf:owner/repo/a/../b.gguf",
            "hf:owner/repo@/a.gguf",
            "hf:own er/repo/a.gguf",
            "hf:owner/repo/a.gguf?x=1",
            "ftp://example.org/a.gguf",
            "https://user:secret@example.org/a.gguf",
            "file:a.gguf",
            "https://",
        ] {
            let error = Source::parse(text).expect_err(text).into_problem();
            assert_eq!((&*error.code, error.status), ("invalid-source", 422), "{error}");
            assert!(!error.detail.contains("secret"), "{error}");
        }
    }

    #[test]
    fn the_file_name_suggests_the_id() {
        let cases = [
            ("hf:a/b/Sub/SmolLM2.Q4_1.gguf", Some("smollm2.q4_1")),
            ("https://example.org/x/My%20Model.gguf?y=z.gguf", Some("my-20model")),
            ("https://example.org/", None),
        ];
        for (text, id) in cases {
            let suggested = remote(text).suggested_id();
            assert_eq!(suggested.as_ref().map(ModelId::as_str), id, "{text}");
        }
    }
}
