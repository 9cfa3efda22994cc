use proptest::prelude::*;

use super::*;

const MAX: usize = 1000;

/// A client's frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | u8::try_from(length).unwrap()),
        length @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn reader() -> Reader {
    let mut headers = http::HeaderMap::new();
    headers.insert("sec-websocket-extensions", "permessage-deflate".parse().unwrap());
    Reader::new(Deflate::negotiate(&headers), MAX)
}

/// Reads everything in one go.
fn read(reader: &mut Reader, mut input: &[u8]) -> Result<Vec<Incoming>, Violation> {
    let mut all = Vec::new();
    while let Some(incoming) = reader.read(&mut input)? {
        all.push(incoming);
    }
    assert!(input.is_empty());
    Ok(all)
}

/// Reads byte by byte. Answers also how many bytes it took to see what is wrong.
fn read_bytes(input: &[u8]) -> Result<Vec<Incoming>, (usize, Violation)> {
    let mut reader = reader();
    let mut all = Vec::new();
    for (at, byte) in input.iter().enumerate() {
        all.extend(read(&mut reader, &[*byte]).map_err(|violation| (at + 1, violation))?);
    }
    Ok(all)
}

fn text(text: &str) -> Incoming {
    Incoming::Text(text.to_owned())
}

fn deflated(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    deflate::deflate(message, &mut out).unwrap();
    out
}

/// Holds nothing on the heap.
fn is_idle(reader: &Reader) -> bool {
    (reader.bytes.capacity(), reader.control.capacity()) == (0, 0)
}

#[test]
fn messages_and_what_comes_between_their_frames_are_told_apart() {
    let input = [
        frame(0x01, b"Hel"),
        frame(0x89, b"between"),
        frame(0x80, b"lo"),
        frame(0x82, &[0, 255]),
        frame(0x81, b""),
        frame(0x8a, b""),
        frame(0xc1, &deflated("größer".as_bytes())),
        frame(0x41, &deflated(b"in two frames")[..5]),
        frame(0x80, &deflated(b"in two frames")[5..]),
        frame(0x88, &[0x03, 0xe8]),
    ]
    .concat();
    let expected = [
        Incoming::Ping(Bytes::from_static(b"between")),
        text("Hello"),
        Incoming::Binary(Bytes::from_static(&[0, 255])),
        text(""),
        Incoming::Pong(Bytes::new()),
        text("größer"),
        text("in two frames"),
        Incoming::Close(Some(1000)),
    ];
    let mut once = reader();
    assert_eq!(read(&mut once, &input).unwrap(), expected);
    assert!(is_idle(&once));
    assert_eq!(read_bytes(&input).unwrap(), expected);
    for cut in 0..=input.len() {
        let mut reader = reader();
        let mut all = read(&mut reader, &input[..cut]).unwrap();
        all.extend(read(&mut reader, &input[cut..]).unwrap());
        assert_eq!(all, expected, "cut at {cut}");
    }
}

#[test]
fn frames_that_do_not_belong_here_are_refused() {
    let start = frame(0x01, b"a");
    for (input, violation) in [
        (frame(0x80, b"a"), Violation::Continuation),
        ([start.clone(), frame(0x81, b"a")].concat(), Violation::Interleaved),
        ([start, frame(0xc0, b"a")].concat(), Violation::ReservedBit),
        (frame(0x88, &[3]), Violation::CloseCode),
        (frame(0x88, &[3, 232, 0xff]), Violation::Utf8),
        (frame(0x83, b""), Violation::Opcode(3)),
        (vec![0x81, 0x01, b'a'], Violation::Unmasked),
    ] {
        assert_eq!(read(&mut reader(), &input), Err(violation));
    }
    let mut plain = Reader::new(Deflate::OFF, MAX);
    assert_eq!(read(&mut plain, &frame(0xc1, &deflated(b"a"))), Err(Violation::ReservedBit));
}

#[test]
fn only_some_codes_close() {
    assert_eq!(read(&mut reader(), &frame(0x88, b"")), Ok(vec![Incoming::Close(None)]));
    for code in [1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
        let close = [&u16::to_be_bytes(code)[..], b"why"].concat();
        assert_eq!(read(&mut reader(), &frame(0x88, &close)), Ok(vec![Incoming::Close(Some(code))]));
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        let violation = Violation::UnknownClose(code);
        assert_eq!(read(&mut reader(), &frame(0x88, &code.to_be_bytes())), Err(violation));
    }
}

#[test]
fn text_is_checked_while_it_comes() {
    // A surrogate, too large a code point, an overlong form: wrong at the second byte.
    for wrong in [&[0xed, 0xa0, 0x80][..], &[0xf4, 0x90, 0x80, 0x80], &[0xc0, 0xaf], &[0xe0, 0x80, 0x80]] {
        let start = "κόσμε".as_bytes();
        let input = frame(0x81, &[start, wrong, b"and so on"].concat());
        let second = if wrong[0] == 0xc0 { 1 } else { 2 };
        assert_eq!(read_bytes(&input), Err((2 + 4 + start.len() + second, Violation::Utf8)));
    }
    // A character over two fragments is fine; half a character at the end is not.
    let halves = [frame(0x01, &[0xc3]), frame(0x00, &[]), frame(0x80, &[0xa9])].concat();
    assert_eq!(read_bytes(&halves), Ok(vec![text("é")]));
    assert_eq!(read(&mut reader(), &frame(0x81, &[b'a', 0xc3])), Err(Violation::Utf8));
    assert_eq!(read(&mut reader(), &frame(0xc1, &deflated(&[0xff]))), Err(Violation::Utf8));
    assert_eq!(read(&mut reader(), &frame(0xc1, b"\xff\xff")), Err(Violation::Deflate));
}

#[test]
fn a_message_over_the_limit_is_not_waited_for() {
    let exact = vec![b'a'; MAX];
    assert_eq!(read(&mut reader(), &frame(0x81, &exact)).unwrap().len(), 1);
    assert_eq!(read(&mut reader(), &frame(0xc1, &deflated(&exact))).unwrap().len(), 1);
    let over = vec![b'a'; MAX + 1];
    assert_eq!(read_bytes(&frame(0x81, &over)), Err((8, Violation::TooLarge)));
    let fragments = [frame(0x02, &exact), frame(0x00, b""), frame(0x80, b"a")].concat();
    let seen = frame(0x02, &exact).len() + frame(0, b"").len() + 6;
    assert_eq!(read_bytes(&fragments), Err((seen, Violation::TooLarge)));
    let huge = [&[0x82, 0xff][..], &(u64::MAX / 2).to_be_bytes(), &[0; 4]].concat();
    assert_eq!(read(&mut reader(), &huge), Err(Violation::TooLarge));
    let bomb = deflated(&vec![0; 100 * MAX]);
    assert!(bomb.len() < MAX);
    assert_eq!(read(&mut reader(), &frame(0xc2, &bomb)), Err(Violation::TooLarge));
    // What cannot be compressed may be a little longer on the way.
    let stored = deflate::deflated_bytes_max(MAX);
    assert_eq!(read_bytes(&frame(0xc2, &vec![0; stored + 1])), Err((8, Violation::TooLarge)));
}

#[test]
fn an_announced_message_costs_nothing_before_it_comes() {
    let mut reader = Reader::new(Deflate::OFF, 1 << 20);
    let start = &frame(0x82, &vec![7; 1 << 20])[..100];
    assert_eq!(read(&mut reader, start), Ok(vec![]));
    assert!(reader.bytes.capacity() < 1000);
}

/// A message of a client: its content, whether it is text, whether it is deflated, where it is cut.
type Sent = (String, bool, bool, Vec<prop::sample::Index>);

fn sent() -> impl Strategy<Value = Sent> {
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    ("\\PC{0,60}", any::<bool>(), any::<bool>(), cuts)
}

fn encode((content, is_text, is_deflated, cuts): &Sent) -> Vec<u8> {
    let payload = if *is_deflated { deflated(content.as_bytes()) } else { content.clone().into_bytes() };
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect();
    ends.sort_unstable();
    ends.push(payload.len());
    let (mut out, mut start) = (Vec::new(), 0);
    for (at, end) in ends.iter().enumerate() {
        let opcode = match (at, is_text) {
            (0, true) => 1,
            (0, false) => 2,
            _ => 0,
        };
        let fin = if at + 1 == ends.len() { 0x80 } else { 0 };
        let rsv1 = if at == 0 && *is_deflated { 0x40 } else { 0 };
        out.extend(frame(fin | rsv1 | opcode, &payload[start..*end]));
        start = *end;
    }
    out
}

proptest! {
    #[test]
    fn messages_arrive_however_they_are_cut(
        messages in prop::collection::vec(sent(), 0..6),
        reads in prop::collection::vec(1usize..40, 1..30),
    ) {
        let input: Vec<u8> = messages.iter().flat_map(encode).collect();
        let mut reader = reader();
        let (mut all, mut rest) = (Vec::new(), &input[..]);
        for length in reads.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*length).min(rest.len()));
            all.extend(read(&mut reader, now).unwrap());
            rest = later;
        }
        let expected: Vec<Incoming> = messages
            .into_iter()
            .map(|(content, is_text, ..)| {
                if is_text { Incoming::Text(content) } else { Incoming::Binary(content.into()) }
            })
            .collect();
        prop_assert_eq!(all, expected);
        prop_assert!(is_idle(&reader));
    }

    #[test]
    fn any_bytes_are_survived_in_bounded_memory(
        start in prop::sample::select(vec![0x01u8, 0x02, 0x41, 0x81, 0x82, 0xc1, 0xc2, 0x89, 0x88]),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        more in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..300)), 0..8),
    ) {
        let mut input = frame(start, &bytes);
        for (first, payload) in more {
            input.extend(frame(first & 0xcf, &payload));
        }
        input.extend(bytes);
        let mut reader = reader();
        for chunk in input.chunks(17) {
            let ended = read(&mut reader, chunk).is_err();
            prop_assert!(reader.bytes.capacity() <= deflate::deflated_bytes_max(MAX));
            prop_assert!(reader.control.capacity() <= 256);
            if ended {
                break;
            }
        }
    }

    #[test]
    fn noise_is_survived(bytes: Vec<u8>) {
        let _ = read_bytes(&bytes);
    }
}
