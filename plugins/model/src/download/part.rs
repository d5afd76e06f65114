//! The part of a file that has come, on the disk.
//!
//! ```text
//! downloads/ID/part         what has come, in whole blocks of 64 KiB
//! downloads/ID/checksums    each block's CRC-32, four bytes, little-endian
//! downloads/ID/origin.json  where it comes from: an `Origin`
//! ```
//!
//! A block counts if its checksum is there and is right. So whatever a kill or a power cut leaves,
//! what is taken up again is what has come, up to the last whole block; nothing is synced before the
//! end.
//!
//! Who has the lock of the file that's named `part` has the directory. A file that has a second name is
//! a model's, or about to be, and isn't written to any more.
//!
//! All of this blocks its thread.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::digest::hexadecimal;

/// How much has one checksum, and how much is written at once, bytes: what a kill loses at most.
const BLOCK: usize = 64 * 1024;

const PART: &str = "part";
const CHECKSUMS: &str = "checksums";
const ORIGIN: &str = "origin.json";

/// An origin that is being written.
const NEW_ORIGIN: &str = "origin.new";

/// Where a part comes from, and how its server tells that file from others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// The source, as the client named it.
    pub(crate) source: String,
    /// What `If-Range` can ask for (RFC 9110, section 13.1.5): a strong `ETag`, or else a date.
    pub(crate) validator: Option<String>,
    /// The whole file's size.
    pub(crate) total: Option<u64>,
}

/// A part that is being added to. Nobody else can open it meanwhile.
pub(crate) struct Part {
    directory: PathBuf,
    file: File,
    checksums: File,
    origin: Origin,
    /// How much is in `file`.
    written: u64,
    /// What comes behind that, less than a block.
    tail: Vec<u8>,
    hash: Sha256,
}

impl Part {
    /// Opens what there is of `source` in `directory`, after checking it; of another source it's
    /// dropped. Waits for whoever has it open.
    pub(crate) fn open(directory: PathBuf, source: &str) -> io::Result<Self> {
        let file = lock(&directory)?;
        let checksums = open(&directory.join(CHECKSUMS))?;
        let origin = read_origin(&directory).unwrap_or_default();
        let mut part = Self {
            directory,
            file,
            checksums,
            origin,
            written: 0,
            tail: Vec::with_capacity(BLOCK),
            hash: Sha256::new(),
        };
        if part.origin.source == source {
            part.check()?;
        } else {
            part.origin = Origin { source: source.to_owned(), ..Origin::default() };
        }
        part.cut()?;
        Ok(part)
    }

    /// How much has come.
    pub(crate) fn len(&self) -> u64 {
        self.written + self.tail.len() as u64
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// How much can be added without a call for the disk, bytes.
    pub(crate) fn room(&self) -> usize {
        BLOCK - self.tail.len() - 1
    }

    /// Keeps what the server tells of the file that the part is of.
    pub(crate) fn set_origin(&mut self, origin: Origin) -> io::Result<()> {
        if self.origin != origin {
            self.origin = origin;
            self.write_origin()?;
        }
        Ok(())
    }

    /// Drops what has come.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        self.written = 0;
        self.tail.clear();
        self.hash = Sha256::new();
        self.cut()
    }

    /// Adds what has come next.
    pub(crate) fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - self.tail.len()));
            self.tail.extend_from_slice(now);
            bytes = later;
            if self.tail.len() == BLOCK {
                self.write_tail()?;
            }
        }
        Ok(())
    }

    /// The first bytes that have come, at most `count`.
    pub(crate) fn head(&self, count: usize) -> io::Result<Vec<u8>> {
        if self.written == 0 {
            return Ok(self.tail.iter().copied().take(count).collect());
        }
        let mut head = Vec::new();
        (&self.file).seek(SeekFrom::Start(0))?;
        (&self.file).take(count as u64).read_to_end(&mut head)?;
        Ok(head)
    }

    /// All has come: writes what is left and returns the file, and its SHA-256, hexadecimal.
    pub(crate) fn finish(&mut self) -> io::Result<(File, String)> {
        if !self.tail.is_empty() {
            self.write_tail()?;
        }
        let digest = self.hash.clone().finalize();
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        Ok((file, hexadecimal(&digest)))
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join(PART)
    }

    /// Removes it.
    pub(crate) fn remove(&self) -> io::Result<()> {
        empty(&self.directory)
    }

    fn write_tail(&mut self) -> io::Result<()> {
        // Also where an earlier call was cut off, by a full disk.
        self.file.seek(SeekFrom::Start(self.written))?;
        self.file.write_all(&self.tail)?;
        self.checksums.seek(SeekFrom::Start(self.written.div_ceil(BLOCK as u64) * 4))?;
        self.checksums.write_all(&crc32fast::hash(&self.tail).to_le_bytes())?;
        self.hash.update(&self.tail);
        self.written += self.tail.len() as u64;
        self.tail.clear();
        Ok(())
    }

    /// Reads on for as long as the blocks are right.
    fn check(&mut self) -> io::Result<()> {
        let mut checksums = Vec::new();
        self.checksums.read_to_end(&mut checksums)?;
        let mut block = vec![0; BLOCK];
        for checksum in checksums.chunks_exact(4) {
            match self.file.read_exact(&mut block) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            }
            if crc32fast::hash(&block).to_le_bytes() != checksum {
                break;
            }
            self.hash.update(&block);
            self.written += BLOCK as u64;
        }
        Ok(())
    }

    /// Cuts the files off behind what counts.
    fn cut(&self) -> io::Result<()> {
        self.checksums.set_len(self.written / BLOCK as u64 * 4)?;
        self.file.set_len(self.written)
    }

    fn write_origin(&self) -> io::Result<()> {
        // By a rename: half a description would cost the whole part.
        let (path, new) = (self.directory.join(ORIGIN), self.directory.join(NEW_ORIGIN));
        fs::write(&new, serde_json::to_vec_pretty(&self.origin)?)?;
        fs::rename(new, path)
    }
}

/// Where the part in `directory` comes from, and how much has come, about; `None` if there's none.
pub(crate) fn look(directory: &Path) -> Option<(Origin, u64)> {
    let bytes = fs::metadata(directory.join(PART)).ok()?.len();
    Some((read_origin(directory)?, bytes))
}

/// Removes the part in `directory`; `false` if there's none.
///
/// # Errors
/// [`ErrorKind::WouldBlock`] while somebody has it open.
pub(crate) fn remove(directory: &Path) -> io::Result<bool> {
    let file = match File::open(directory.join(PART)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    file.try_lock()?;
    empty(directory)?;
    Ok(true)
}

/// The part's file, made if there's none, and locked. Waits for whoever has it open.
fn lock(directory: &Path) -> io::Result<File> {
    let path = directory.join(PART);
    loop {
        fs::create_dir_all(directory)?;
        let file = match open(&path) {
            // Who had the directory has removed it just now.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            opened => opened?,
        };
        // A call for the disk may go on for a moment after its download was cancelled.
        file.lock()?;
        // That call may have made a model of the file.
        let locked = file.metadata()?;
        if fs::metadata(&path).is_ok_and(|named| named.ino() == locked.ino()) {
            if locked.nlink() == 1 {
                return Ok(file);
            }
            fs::remove_file(&path)?;
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).open(path)
}

/// Removes a directory whose lock the caller has.
fn empty(directory: &Path) -> io::Result<()> {
    // The part comes last: with it goes the lock.
    for name in [CHECKSUMS, ORIGIN, NEW_ORIGIN, PART] {
        match fs::remove_file(directory.join(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            removed => removed?,
        }
    }
    // It stays where the next download has begun in it already.
    let _ = fs::remove_dir(directory);
    Ok(())
}

fn read_origin(directory: &Path) -> Option<Origin> {
    serde_json::from_slice(&fs::read(directory.join(ORIGIN)).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn open(directory: &Path) -> Part {
        let mut part = Part::open(directory.join("a"), "here").unwrap();
        let (source, validator) = ("here".to_owned(), Some("\"1\"".to_owned()));
        part.set_origin(Origin { source, validator, total: None }).unwrap();
        part
    }

    fn content(size: usize) -> Vec<u8> {
        (0..size).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect()
    }

    #[test]
    fn what_a_kill_leaves_is_taken_up_to_the_last_block() {
        let directory = tempfile::tempdir().unwrap();
        let content = content(3 * BLOCK + 100);
        open(directory.path()).append(&content).unwrap();
        let mut part = open(directory.path());
        assert_eq!(part.len(), 3 * BLOCK as u64);
        part.append(&content[3 * BLOCK..]).unwrap();
        let (mut file, digest) = part.finish().unwrap();
        let mut found = Vec::new();
        file.read_to_end(&mut found).unwrap();
        assert!(found == content);
        assert_eq!(digest, hexadecimal(&Sha256::digest(&content)));
    }

    #[test]
    fn what_is_damaged_is_fetched_again_and_what_is_before_it_is_not() {
        type Damage = fn(&Path);
        let damages: [(&str, Damage); 4] = [
            ("a hole", |part| {
                let mut file = File::options().write(true).open(part.join(PART)).unwrap();
                file.seek(SeekFrom::Start(BLOCK as u64 + 5)).unwrap();
                file.write_all(&[0; 100]).unwrap();
            }),
            ("a part that is short", |part| {
                let file = File::options().write(true).open(part.join(PART)).unwrap();
                file.set_len(BLOCK as u64 + 5).unwrap();
            }),
            ("checksums that are short", |part| {
                let file = File::options().write(true).open(part.join(CHECKSUMS)).unwrap();
                file.set_len(7).unwrap();
            }),
            ("a checksum that is wrong", |part| {
                let mut file = File::options().write(true).open(part.join(CHECKSUMS)).unwrap();
                file.seek(SeekFrom::Start(4)).unwrap();
                file.write_all(&[1; 4]).unwrap();
            }),
        ];
        for (name, damage) in damages {
            let directory = tempfile::tempdir().unwrap();
            let content = content(3 * BLOCK);
            open(directory.path()).append(&content).unwrap();
            damage(&directory.path().join("a"));
            let mut part = open(directory.path());
            assert_eq!(part.len(), BLOCK as u64, "{name}");
            part.append(&content[BLOCK..]).unwrap();
            assert_eq!(part.finish().unwrap().1, hexadecimal(&Sha256::digest(&content)), "{name}");
        }
    }

    #[test]
    fn a_part_of_another_source_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        open(directory.path()).append(&content(2 * BLOCK)).unwrap();
        let part = Part::open(directory.path().join("a"), "elsewhere").unwrap();
        assert_eq!(part.len(), 0);
        assert_eq!(part.origin().validator, None);
        assert_eq!(fs::metadata(part.path()).unwrap().len(), 0);
    }

    /// What is published is a second name of the part's file.
    fn publish(part: &Part, directory: &Path) -> PathBuf {
        let model = directory.join("model.gguf");
        fs::hard_link(part.path(), &model).unwrap();
        model
    }

    #[test]
    fn a_part_that_became_a_model_is_not_written_to_by_the_next_download() {
        let directory = tempfile::tempdir().unwrap();
        let whole = content(2 * BLOCK + 100);
        let mut part = open(directory.path());
        part.append(&whole).unwrap();
        part.finish().unwrap();
        let model = publish(&part, directory.path());
        drop(part);
        let mut next = open(directory.path());
        assert_eq!(next.len(), 0);
        next.append(&content(BLOCK)).unwrap();
        next.clear().unwrap();
        assert!(fs::read(model).unwrap() == whole);
    }

    #[test]
    fn a_download_that_waits_for_a_part_which_is_removed_begins_a_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let mut part = open(directory.path());
        part.append(&content(2 * BLOCK)).unwrap();
        std::thread::scope(|scope| {
            let next = scope.spawn(|| open(directory.path()));
            let model = publish(&part, directory.path());
            part.remove().unwrap();
            drop(part);
            let mut next = next.join().unwrap();
            next.append(&content(BLOCK)).unwrap();
            assert!(fs::read(model).unwrap() == content(2 * BLOCK));
            assert_eq!(fs::metadata(next.path()).unwrap().len(), BLOCK as u64);
        });
    }

    #[test]
    fn a_part_is_removed_once_nobody_has_it_open() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let part = open(directory.path());
        assert_eq!(remove(&path).unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(part);
        assert!(remove(&path).unwrap());
        assert!(!path.exists());
        assert!(!remove(&path).unwrap());
    }

    proptest! {
        #[test]
        fn however_it_comes_and_breaks_off_the_whole_is_the_same(
            pieces in prop::collection::vec((0..2 * BLOCK, any::<bool>()), 1..12)
        ) {
            let directory = tempfile::tempdir().unwrap();
            let whole = content(4 * BLOCK + 17);
            let mut part = open(directory.path());
            for (size, is_killed) in pieces {
                if is_killed {
                    drop(part);
                    part = open(directory.path());
                }
                let from = usize::try_from(part.len()).unwrap();
                part.append(&whole[from..(from + size).min(whole.len())]).unwrap();
            }
            let from = usize::try_from(part.len()).unwrap();
            part.append(&whole[from..]).unwrap();
            prop_assert_eq!(part.finish().unwrap().1, hexadecimal(&Sha256::digest(&whole)));
        }
    }
}
