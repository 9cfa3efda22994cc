//! Negotiation of permessage-deflate (RFC 6455 section 9, RFC 7692 sections 5 and 7.1). Pure.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, header};

/// The extension's name.
const NAME: &str = "permessage-deflate";

/// What is said to every client that is answered: nobody keeps a context, so no connection costs one.
/// A server may ask that of the client whether or not it was offered (RFC 7692 section 7.1.1.2).
const ANSWER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// The largest window, in bits; the one that our messages are deflated with.
const WINDOW_BITS_MAX: u8 = 15;

/// Offers of a client that are looked at. A client that knows what it wants names one or two.
const OFFERS_MAX: usize = 16;

/// What was agreed about compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Deflate(Agreed);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Agreed {
    /// No compression.
    #[default]
    Off,
    /// Either side may deflate messages.
    On {
        /// `server_max_window_bits`: the client keeps no larger window than this. `None`: it named none.
        window_bits: Option<u8>,
    },
}

impl Deflate {
    /// No compression.
    pub const OFF: Self = Self(Agreed::Off);

    /// Chooses the first offer that can be met (RFC 7692 section 5.1). One with parameters that are
    /// unknown, repeated or malformed is passed over.
    pub(crate) fn negotiate(headers: &HeaderMap) -> Self {
        headers
            .get_all(header::SEC_WEBSOCKET_EXTENSIONS)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| split(value, ','))
            .take(OFFERS_MAX)
            .find_map(accept)
            .unwrap_or(Self::OFF)
    }

    /// Whether it was agreed on: the client may send deflated messages, and be sent short ones.
    pub fn is_on(self) -> bool {
        self.0 != Agreed::Off
    }

    /// Whether the client may be sent a message of `bytes` bytes deflated by
    /// [`crate::frame::deflated`]. A client with a small window gets longer messages as they are: what
    /// is shared was deflated with the largest one. In a message no longer than the window, nothing
    /// refers further back than that.
    pub fn may_send(self, message_bytes: usize) -> bool {
        match self.0 {
            Agreed::Off => false,
            Agreed::On { window_bits: None } => true,
            Agreed::On { window_bits: Some(bits) } => bits >= WINDOW_BITS_MAX || message_bytes <= 1 << bits,
        }
    }

    /// The value of `Sec-WebSocket-Extensions` in the answer; none when nothing was agreed.
    pub fn header(self) -> Option<HeaderValue> {
        match self.0 {
            Agreed::Off => None,
            Agreed::On { window_bits: None } => Some(HeaderValue::from_static(ANSWER)),
            Agreed::On { window_bits: Some(bits) } => {
                HeaderValue::try_from(format!("{ANSWER}; server_max_window_bits={bits}")).ok()
            }
        }
    }
}

/// Holds one offer against RFC 7692 section 7.1. Answers `None` when it has to be declined.
fn accept(offer: &str) -> Option<Deflate> {
    let mut parts = split(offer, ';');
    if !parts.next()?.eq_ignore_ascii_case(NAME) {
        return None;
    }
    let mut server_no_context = false;
    let mut client_no_context = false;
    let mut server_bits = None;
    let mut client_bits = None;
    for part in parts {
        let (name, value) = parameter(part)?;
        let repeated = if name.eq_ignore_ascii_case("server_no_context_takeover") && value.is_none() {
            std::mem::replace(&mut server_no_context, true)
        } else if name.eq_ignore_ascii_case("client_no_context_takeover") && value.is_none() {
            std::mem::replace(&mut client_no_context, true)
        } else if name.eq_ignore_ascii_case("server_max_window_bits") {
            server_bits.replace(window_bits(&value?)?).is_some()
        } else if name.eq_ignore_ascii_case("client_max_window_bits") {
            // A hint, with or without a value. We do not take it up: inflating takes any window.
            let bits = match value {
                Some(value) => window_bits(&value)?,
                None => WINDOW_BITS_MAX,
            };
            client_bits.replace(bits).is_some()
        } else {
            return None;
        };
        if repeated {
            return None;
        }
    }
    Some(Deflate(Agreed::On { window_bits: server_bits }))
}

/// 8 to 15, without leading zeros (RFC 7692 section 7.1.2).
fn window_bits(value: &str) -> Option<u8> {
    match value {
        "8" | "9" | "10" | "11" | "12" | "13" | "14" | "15" => value.parse().ok(),
        _ => None,
    }
}

/// A parameter: a token, and a value that is a token or a quoted one (RFC 6455 section 9.1).
fn parameter(part: &str) -> Option<(&str, Option<Cow<'_, str>>)> {
    let Some((name, value)) = part.split_once('=') else {
        return is_token(part).then_some((part, None));
    };
    let value = match value.strip_prefix('"') {
        Some(quoted) => Cow::Owned(unquote(quoted)?),
        None => Cow::Borrowed(value),
    };
    (is_token(name) && is_token(&value)).then_some((name, Some(value)))
}

/// What a quoted string holds, given what follows its first quote.
fn unquote(quoted: &str) -> Option<String> {
    let mut value = String::new();
    let mut characters = quoted.chars();
    loop {
        match characters.next()? {
            '"' => return characters.next().is_none().then_some(value),
            '\\' => value.push(characters.next()?),
            character => value.push(character),
        }
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Splits a list at a separator that is not inside quotes, and takes spaces off its elements.
fn split(list: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut escaped = false;
    list.split(move |character| {
        if escaped {
            escaped = false;
        } else if quoted && character == '\\' {
            escaped = true;
        } else if character == '"' {
            quoted = !quoted;
        }
        !quoted && character == separator
    })
    .map(|element| element.trim_matches([' ', '\t']))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn negotiate(offers: &[&str]) -> Deflate {
        let mut headers = HeaderMap::new();
        for offer in offers {
            headers.append(header::SEC_WEBSOCKET_EXTENSIONS, offer.parse().unwrap());
        }
        Deflate::negotiate(&headers)
    }

    fn answer(offers: &[&str]) -> Option<String> {
        negotiate(offers).header().map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn what_browsers_offer_is_accepted() {
        let deflate = negotiate(&["permessage-deflate; client_max_window_bits"]);
        assert!(deflate.is_on() && deflate.may_send(usize::MAX));
        assert_eq!(deflate.header().unwrap(), ANSWER);
        assert_eq!(answer(&["permessage-deflate"]).unwrap(), ANSWER);
        assert_eq!(answer(&["x-webkit-deflate-frame, Permessage-Deflate"]).unwrap(), ANSWER);
    }

    #[test]
    fn without_an_offer_nothing_is_agreed() {
        for offers in [&[][..], &[""], &[", ,"], &["x-webkit-deflate-frame"], &["permessage-deflated"]] {
            assert_eq!(negotiate(offers), Deflate::OFF, "{offers:?}");
        }
        assert!(!Deflate::OFF.is_on() && !Deflate::OFF.may_send(0));
        assert_eq!(Deflate::OFF.header(), None);
    }

    #[test]
    fn a_small_window_is_kept_to() {
        let deflate = negotiate(&["permessage-deflate; server_max_window_bits=9"]);
        assert_eq!(deflate.header().unwrap(), format!("{ANSWER}; server_max_window_bits=9").as_str());
        assert!(deflate.is_on() && deflate.may_send(512) && !deflate.may_send(513));
        let largest = negotiate(&["permessage-deflate; server_max_window_bits=\"1\\5\""]);
        assert!(largest.may_send(usize::MAX));
    }

    #[test]
    fn an_offer_with_a_wrong_parameter_is_passed_over() {
        for wrong in [
            "server_max_window_bits",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=09",
            "server_max_window_bits=9; server_max_window_bits=9",
            "client_max_window_bits=+9",
            "client_max_window_bits; client_max_window_bits=10",
            "client_max_window_bits=\"10\"x",
            "client_max_window_bits=",
            "client_max_window_bits =10",
            "server_no_context_takeover=1",
            "client_no_context_takeover; client_no_context_takeover",
            "no_context_takeover",
            "",
        ] {
            let offer = format!("permessage-deflate; {wrong}");
            assert_eq!(answer(&[&offer]), None, "{offer}");
            let second = format!("{offer}, permessage-deflate; client_max_window_bits=10");
            assert_eq!(answer(&[&second]).as_deref(), Some(ANSWER), "{second}");
            assert_eq!(answer(&[&offer, "permessage-deflate"]).as_deref(), Some(ANSWER), "{offer}");
        }
    }

    #[test]
    fn a_comma_in_quotes_starts_no_offer() {
        assert_eq!(answer(&["x; y=\"a, permessage-deflate, \\\", b\""]), None);
        assert_eq!(answer(&["x; y=\"a, b\", permessage-deflate"]).as_deref(), Some(ANSWER));
        // Nobody knows where this one ends.
        assert_eq!(answer(&["permessage-deflate; client_max_window_bits=\"10, permessage-deflate"]), None);
    }

    proptest! {
        #[test]
        fn any_header_is_survived(value in "[ -~]{0,80}", tail in "[a-z_=;,\" 0-9\\\\]{0,60}") {
            negotiate(&[&value, &format!("permessage-deflate{tail}")]);
        }
    }
}
