//! The handshake of a lean client, as text.

use testkit::handshake;

use super::orders::{ClientSpec, Setup, To};

/// The longest answer, in bytes.
pub(super) const ANSWER_BYTES_MAX: usize = 8 << 10;

/// The request; `cursor` is the parameter of a client that resumes, and empty otherwise.
pub(super) fn request(client: &ClientSpec, setup: &Setup, to: &To, cursor: &str) -> Vec<u8> {
    let batch = if setup.batch { "&batch=1" } else { "" };
    let mut request = format!(
        "GET {}?device={}{cursor}{batch} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
         sec-websocket-protocol: {}\r\n",
        to.path,
        client.device,
        to.host,
        client.token,
        setup.wire.subprotocol(),
    );
    for (name, value) in handshake::HEADERS {
        request += &format!("{name}: {value}\r\n");
    }
    request += "\r\n";
    request.into_bytes()
}

/// The length of the answer at the beginning of `bytes`; zero when it is not all there.
///
/// # Errors
/// When it is no upgrade.
pub(super) fn answer(bytes: &[u8]) -> Result<usize, String> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        let endless = bytes.len() > ANSWER_BYTES_MAX;
        return if endless { Err("an answer without end".to_owned()) } else { Ok(0) };
    };
    let head = String::from_utf8_lossy(&bytes[..end]);
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "101" {
        return Err(format!("status {status}"));
    }
    let accept = head.lines().filter_map(|line| line.split_once(':'));
    let mut accept = accept.filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-accept"));
    if accept.next().is_none_or(|(_, value)| value.trim() != handshake::ACCEPT) {
        return Err("an upgrade with a wrong key".to_owned());
    }
    Ok(end + 4)
}
