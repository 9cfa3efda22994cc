//! The event stream format (HTML Standard, section 9.2.6), read as bytes come.

/// One event as a browser would dispatch it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ServerEvent {
    pub(super) name: String,
    pub(super) id: Option<String>,
    pub(super) data: String,
}

/// Bytes in, events out.
#[derive(Debug, Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    /// The last byte was a carriage return, which a line feed belongs to.
    after_return: bool,
    event: ServerEvent,
    has_data: bool,
    comments: u64,
}

impl Parser {
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<ServerEvent> {
        let mut events = Vec::new();
        for &byte in bytes {
            let feed_of_return = byte == b'\n' && self.after_return;
            self.after_return = byte == b'\r';
            match byte {
                _ if feed_of_return => {}
                b'\r' | b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    events.extend(self.line(&String::from_utf8_lossy(&line)));
                }
                byte => self.line.push(byte),
            }
        }
        events
    }

    /// How many comments have come since the last call.
    pub(super) fn take_comments(&mut self) -> u64 {
        std::mem::take(&mut self.comments)
    }

    fn line(&mut self, line: &str) -> Option<ServerEvent> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => self.comments += 1,
            "event" => value.clone_into(&mut self.event.name),
            "id" => self.event.id = Some(value.to_owned()),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            // `retry`, and what nobody knows.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_the_bytes_are_cut() {
        let text =
            ":hello\r\n\r\nevent: GOAL\nid: e/all=1\ndata: {\"a\":\ndata: 1}\n\nretry: 5\r\rdata:x\r\n\r\n";
        let event = |name: &str, id: Option<&str>, data: &str| ServerEvent {
            name: name.to_owned(),
            id: id.map(str::to_owned),
            data: data.to_owned(),
        };
        let expected = [event("GOAL", Some("e/all=1"), "{\"a\":\n1}"), event("", None, "x")];
        for step in 1..text.len() {
            let mut parser = Parser::default();
            let events: Vec<_> = text.as_bytes().chunks(step).flat_map(|bytes| parser.feed(bytes)).collect();
            assert_eq!(events, expected, "cut every {step}");
            assert_eq!((parser.take_comments(), parser.take_comments()), (1, 0));
        }
    }
}
