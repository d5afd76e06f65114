//! The book's pages and the blocks in them.

use std::fs;
use std::path::{Path, PathBuf};

/// A page of the book.
pub(crate) struct Page {
    /// Its path below `docs/src`, which is how it's told.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) blocks: Vec<Block>,
}

/// A fenced block.
pub(crate) struct Block {
    /// What stands behind the fence: `rust,standalone_crate`.
    pub(crate) info: String,
    /// The line of its fence, from 1.
    pub(crate) line: usize,
    pub(crate) text: String,
}

impl Page {
    /// Reads one page.
    pub(crate) fn read(path: &str) -> Self {
        let file = folder().join(path);
        let text =
            fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let blocks = blocks(path, &text);
        Self { path: path.to_owned(), text, blocks }
    }

    /// Every page of the book.
    pub(crate) fn all() -> Vec<Self> {
        let (root, mut folders, mut paths) = (folder(), vec![folder()], Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in folder.read_dir().expect("a folder of pages") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "md") {
                    let below = path.strip_prefix(&root).expect("it's below");
                    paths.push(below.to_str().expect("a path of text").to_owned());
                }
            }
        }
        paths.sort();
        paths.iter().map(|path| Self::read(path)).collect()
    }
}

impl Block {
    /// The language, without what else stands behind the fence.
    pub(crate) fn language(&self) -> &str {
        self.info.split(',').next().unwrap_or_default()
    }

    /// The file that the block shows, if it begins with a comment that names one: `# skep.toml`. In a
    /// script it's the second line.
    pub(crate) fn file(&self) -> Option<&str> {
        let first = self.text.lines().find(|line| !line.starts_with("#!"))?;
        let name = first.strip_prefix("# ").or_else(|| first.strip_prefix("// "))?;
        let is_file = name.contains('.') && !name.contains(char::is_whitespace);
        is_file.then_some(name)
    }
}

/// The root of the source tree.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where the pages are.
pub(crate) fn folder() -> PathBuf {
    root().join("docs/src")
}

fn blocks(path: &str, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in (1..).zip(text.lines()) {
        match (open.take(), line.strip_prefix("```")) {
            (Some(block), Some("")) => blocks.push(block),
            (Some(block), Some(info)) => {
                panic!("{path}:{number}: `{info}` opens a block within that of line {}", block.line)
            }
            (Some(mut block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
                open = Some(block);
            }
            (None, Some(info)) => {
                open = Some(Block { info: info.to_owned(), line: number, text: String::new() });
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{path}: the last block has no end");
    blocks
}
