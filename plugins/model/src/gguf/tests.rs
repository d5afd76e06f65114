use proptest::prelude::*;

use super::*;

/// A header that is written piece by piece.
#[derive(Clone, Default)]
struct File(Vec<u8>);

impl File {
    fn new(tensors: u64, keys: u64) -> Self {
        Self(b"GGUF".to_vec()).u32(3).u64(tensors).u64(keys)
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u32(self, value: u32) -> Self {
        self.raw(&value.to_le_bytes())
    }

    fn u64(self, value: u64) -> Self {
        self.raw(&value.to_le_bytes())
    }

    fn text(self, text: &str) -> Self {
        self.u64(text.len() as u64).raw(text.as_bytes())
    }

    fn pair(self, key: &str, value: &str) -> Self {
        self.text(key).u32(8).text(value)
    }

    fn integer(self, key: &str, value: u32) -> Self {
        self.text(key).u32(4).u32(value)
    }

    fn tensor(self, name: &str, dimensions: &[u64], offset: u64) -> Self {
        let file = self.text(name).u32(u32::try_from(dimensions.len()).unwrap());
        dimensions.iter().fold(file, |file, size| file.u64(*size)).u32(0).u64(offset)
    }

    fn read(&self) -> Result<Header, GgufError> {
        read(self.0.as_slice(), self.0.len() as u64)
    }

    fn error(&self) -> String {
        self.read().unwrap_err().to_string()
    }
}

fn sound() -> File {
    let file = File::new(2, 10)
        .integer("llama.block_count", 3)
        .integer("llama.embedding_length", 64)
        .integer("llama.attention.head_count", 8)
        .integer("llama.attention.head_count_kv", 2)
        .pair("general.name", "Small")
        .integer("general.file_type", 15)
        .integer("llama.context_length", 2048)
        .integer("gemma3.context_length", 1)
        .pair("general.architecture", "llama");
    let file = file.text("tokenizer.ggml.tokens").u32(9).u32(8).u64(2).text("a").text("bee");
    file.tensor("a", &[4, 2], 0).tensor("b", &[3], 32).raw(&[0; 128])
}

#[test]
fn a_sound_header_is_read() {
    let expected = Header {
        architecture: "llama".into(),
        name: Some("Small".into()),
        quantisation: Some("Q4_K_M".into()),
        context_length: Some(2048),
        // 3 layers of 2 heads, each with 8 numbers of a key and 8 of a value.
        kv_size: Some(96),
        parameters: 11,
    };
    assert_eq!(sound().read().unwrap(), expected);
}

#[test]
fn a_hostile_header_is_refused_with_its_reason() {
    let llama = |tensors| File::new(tensors, 1).pair("general.architecture", "llama");
    let array = |kind, count| File::new(1, 1).text("a").u32(9).u32(kind).u64(count);
    let nested = (0..4).fold(File::new(1, 1).text("a").u32(9), |file, _| file.u32(9).u64(1));
    let end = [0; 64];
    let cases: Vec<(File, &str)> = vec![
        (File::default(), "not a GGUF"),
        (File::default().raw(b"GGU"), "not a GGUF"),
        (File::default().raw(b"PK\x03\x04 and more"), "not a GGUF"),
        (File::default().raw(b"GGUF"), "ends too early"),
        (File::default().raw(b"GGUF").u32(1).u64(1).u64(1), "version 1"),
        (File::default().raw(b"GGUF").raw(&3_u32.to_be_bytes()), "big-endian"),
        (File::new(1, u64::MAX), "metadata keys"),
        (File::new(1, 9_999), "ends too early"),
        (File::new(1, 0).raw(&end), "`general.architecture` is missing"),
        (File::new(1, 1).integer("general.architecture", 1).raw(&end), "is missing"),
        (File::new(1, 1).u64(u64::MAX).raw(&end), "a metadata key claims"),
        (File::new(1, 1).text("a").u32(8).u64(u64::MAX).raw(&end), "ends too early"),
        (File::new(1, 1).text("a").u32(8).u64(1 << 40).raw(&end), "ends too early"),
        (File::new(1, 1).text("a").u32(13).raw(&end), "unknown type 13"),
        (File::new(1, 1).u64(2).raw(b"\xff\xff").u32(4).u32(1), "not UTF-8"),
        (array(8, u64::MAX).raw(&end), "ends too early"),
        (array(12, u64::MAX).raw(&end), "ends too early"),
        (array(12, 1 << 61).raw(&end), "ends too early"),
        (array(99, 1).raw(&end), "unknown type 99"),
        (nested.raw(&end), "nested too deeply"),
        (llama(0).raw(&end), "no weights"),
        (llama(u64::MAX).raw(&end), "ends too early"),
        (llama(1).text("a").u32(5).raw(&end), "5 dimensions"),
        (llama(1).tensor("a", &[1 << 40, 1 << 40], 0).raw(&end), "impossible dimensions"),
        (llama(2).tensor("a", &[u64::MAX], 0).tensor("b", &[1], 0).raw(&end), "impossible"),
        (llama(1).tensor("a", &[1], 1 << 20).raw(&end), "ends too early"),
        (llama(1).tensor("a", &[17], 0).raw(&end), "ends too early"),
        (llama(1).tensor("a", &[1], u64::MAX).raw(&end), "ends too early"),
    ];
    for (at, (file, expected)) in cases.iter().enumerate() {
        let error = file.error();
        assert!(error.contains(expected), "case {at}: {error}");
    }
}

#[test]
fn an_alignment_that_divides_nothing_is_refused() {
    for alignment in [0, 3] {
        let file = File::new(1, 2)
            .pair("general.architecture", "llama")
            .integer("general.alignment", alignment)
            .tensor("a", &[1], 0);
        assert!(file.raw(&[0; 64]).error().contains("alignment"));
    }
}

#[test]
fn a_header_without_end_is_given_up() {
    let size = MAX_HEADER * 2;
    let header = File::new(1, 1).text("a").u32(9).u32(0).u64(MAX_HEADER + 1).0;
    let endless = io::BufReader::new(io::Read::chain(header.as_slice(), io::repeat(0)));
    let error = read(endless, size).unwrap_err().to_string();
    assert!(error.contains("longer than 128 MiB"), "{error}");
}

#[test]
fn a_file_that_is_cut_anywhere_is_refused() {
    let File(bytes) = sound();
    // Behind the header and what pads it are 44 bytes of weights.
    for length in 0..bytes.len() - 128 + 44 {
        assert!(File(bytes[..length].to_vec()).read().is_err(), "{length}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = File(b"GGUF\x03\0\0\0".to_vec()).raw(&bytes).read();
    }

    #[test]
    fn no_damage_makes_the_reader_panic(at in 0_usize..300, with in any::<[u8; 8]>()) {
        let File(mut bytes) = sound();
        let at = at % (bytes.len() - 8);
        bytes[at..at + 8].copy_from_slice(&with);
        let _ = File(bytes).read();
    }
}
