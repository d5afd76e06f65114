//! Counting events: as far as a client has to decode them to know that none is missing.

/// What has come of a stream.
#[derive(Default)]
pub(crate) struct Counter {
    /// Events so far.
    pub(crate) events: u64,
    /// The end of what has come, for whoever wants to look at the last event.
    tail: Vec<u8>,
}

/// How much of the end is kept, bytes: more than the last event of any server here.
const TAIL: usize = 256;

impl Counter {
    /// Counts in the next bytes of Server-Sent Events: an empty line ends each.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        // An empty line may be cut in two.
        let is_cut = self.tail.last() == Some(&b'\n') && bytes.first() == Some(&b'\n');
        let pairs = bytes.iter().zip(bytes.get(1..).unwrap_or_default());
        let ends = pairs.map(|(a, b)| u8::from(*a == b'\n') & u8::from(*b == b'\n'));
        self.events += u64::from(is_cut) + sum(ends);
        self.keep(bytes);
    }

    /// Counts in the next bytes of an array of tokens, which have neither commas nor brackets: one of them ends each.
    pub(crate) fn add_array(&mut self, bytes: &[u8]) {
        self.events += sum(bytes.iter().map(|a| u8::from(*a == b',') | u8::from(*a == b']')));
        self.keep(bytes);
    }

    /// Counts in one event, whole.
    pub(crate) fn add_event(&mut self, event: &[u8]) {
        self.events += 1;
        self.tail.clear();
        self.keep(event);
    }

    fn keep(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(TAIL);
        let surplus = (self.tail.len() + kept).saturating_sub(TAIL);
        self.tail.drain(..surplus);
        self.tail.extend_from_slice(&bytes[bytes.len() - kept..]);
    }

    /// The last event, whole.
    pub(crate) fn last(&self) -> &str {
        let text = std::str::from_utf8(&self.tail).unwrap_or_default().trim_end();
        text.rsplit_once("\n\n").map_or(text, |(_, last)| last)
    }
}

/// The sum of ones and zeros: in bytes, so that the compiler does 32 at once.
fn sum(ones: impl Iterator<Item = u8>) -> u64 {
    let mut total = 0;
    let mut block = 0u8;
    for (at, one) in ones.enumerate() {
        block += one;
        if at % 255 == 254 {
            total += u64::from(std::mem::take(&mut block));
        }
    }
    total + u64::from(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_wherever_they_are_cut() {
        let text: String = (1..=1000).map(|id| format!("id: {id}\ndata: \"x\"\n\n")).collect();
        for cut in [1, 2, 3, 7, 255, 256, 4096, 100_000] {
            let mut counter = Counter::default();
            text.as_bytes().chunks(cut).for_each(|part| counter.add(part));
            assert_eq!(counter.events, 1000, "in parts of {cut}");
            assert_eq!(counter.last(), "id: 1000\ndata: \"x\"");
        }
    }

    #[test]
    fn the_messages_of_an_array_are_counted_wherever_it_is_cut() {
        let text = format!("[{}]", ["\"0123456789\""; 1000].join(","));
        for cut in [1, 2, 3, 7, 255, 256, 4096, 100_000] {
            let mut counter = Counter::default();
            text.as_bytes().chunks(cut).for_each(|part| counter.add_array(part));
            assert_eq!(counter.events, 1000, "in parts of {cut}");
            assert!(counter.last().ends_with("\"0123456789\"]"));
        }
    }
}
