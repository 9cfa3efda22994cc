//! Samples in the format of pprof (`profile.proto` of github.com/google/pprof), as Go programs give them: the number of
//! samples, and the processor time that they stand for. Not compressed, which readers take as well.

use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, UNIX_EPOCH},
};

use pprof::Symbol;
use prost::Message;

use super::sampling::{FREQUENCY, Samples};

/// The processor time that a sample stands for, nanoseconds.
const PERIOD_NS: i64 = 1_000_000_000 / FREQUENCY as i64;

/// The profile, encoded.
pub(super) fn encode(samples: &Samples) -> Vec<u8> {
    let mut tables = Tables::default();
    // The format demands that the first one is empty.
    tables.text("");
    let (count, cpu) = (tables.value_type("samples", "count"), tables.value_type("cpu", "nanoseconds"));
    let thread = tables.text("thread");
    let sample = samples.stacks.iter().map(|(stack, count)| {
        let count = i64::try_from(*count).unwrap_or(i64::MAX);
        Sample {
            location_id: stack.frames.iter().filter_map(|frame| tables.location(frame)).collect(),
            value: vec![count, count.saturating_mul(PERIOD_NS)],
            label: vec![Label { key: thread, text: tables.text(&stack.thread_name) }],
        }
    });
    let sample = sample.collect();
    let began = samples.began.duration_since(UNIX_EPOCH).unwrap_or_default();
    Profile {
        sample_type: vec![count, cpu.clone()],
        sample,
        location: tables.locations.entries,
        function: tables.functions.entries,
        string_table: tables.texts.entries,
        time_nanos: nanoseconds(began),
        duration_nanos: nanoseconds(samples.lasted),
        period_type: Some(cpu),
        period: PERIOD_NS,
    }
    .encode_to_vec()
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Entries of a table, each once, and where it is.
struct Table<K, T> {
    entries: Vec<T>,
    places: HashMap<K, usize>,
}

impl<K, T> Default for Table<K, T> {
    fn default() -> Self {
        Self { entries: Vec::new(), places: HashMap::new() }
    }
}

impl<K: Hash + Eq + Clone, T> Table<K, T> {
    /// The place of an entry, from zero; it is made from its place where it is not there yet.
    fn place(&mut self, key: K, make: impl FnOnce(usize) -> T) -> usize {
        let next = self.entries.len();
        let place = *self.places.entry(key).or_insert(next);
        if place == next {
            self.entries.push(make(next));
        }
        place
    }
}

/// What samples refer to by number.
#[derive(Default)]
struct Tables {
    texts: Table<String, String>,
    functions: Table<(i64, i64), Function>,
    locations: Table<Vec<Line>, Location>,
}

impl Tables {
    fn text(&mut self, text: &str) -> i64 {
        let place = self.texts.place(text.to_owned(), |_| text.to_owned());
        i64::try_from(place).unwrap_or(0)
    }

    fn value_type(&mut self, kind: &str, unit: &str) -> ValueType {
        ValueType { kind: self.text(kind), unit: self.text(unit) }
    }

    /// The functions at one address, the innermost first: several where calls were inlined.
    fn location(&mut self, symbols: &[Symbol]) -> Option<u64> {
        let line = symbols
            .iter()
            .map(|symbol| Line { function_id: self.function(symbol), line: symbol.lineno().into() });
        let line: Vec<Line> = line.collect();
        if line.is_empty() {
            return None;
        }
        let place = self.locations.place(line.clone(), |place| Location { id: place as u64 + 1, line });
        Some(place as u64 + 1)
    }

    fn function(&mut self, symbol: &Symbol) -> u64 {
        let (name, filename) = (self.text(&symbol.name()), self.text(&symbol.filename()));
        let system_name = self.text(&symbol.sys_name());
        let place = self.functions.place((system_name, filename), |place| Function {
            id: place as u64 + 1,
            name,
            system_name,
            filename,
        });
        place as u64 + 1
    }
}

#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    label: Vec<Label>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    text: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "3")]
    system_name: i64,
    #[prost(int64, tag = "4")]
    filename: i64,
}
