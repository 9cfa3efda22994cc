//! Signatures of deliveries, as Standard Webhooks has them: HMAC-SHA256 over `<id>.<timestamp>.<body>`. Pure.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::store::webhooks::SigningSecret;

/// What a secret begins with.
const PREFIX: &str = "whsec_";

/// The lengths of a key, in bytes, that Standard Webhooks allows.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The length of a key that is made here, in bytes: that of the hash.
const KEY_BYTES_OWN: usize = 32;

/// Makes a secret that nobody knows.
pub(super) fn new_secret() -> String {
    format!("{PREFIX}{}", STANDARD.encode(rand::random::<[u8; KEY_BYTES_OWN]>()))
}

/// Reads the key of a secret.
///
/// # Errors
/// What a secret has to be.
pub(super) fn key(secret: &str) -> Result<Vec<u8>, &'static str> {
    let key = secret.strip_prefix(PREFIX).and_then(|text| STANDARD.decode(text).ok());
    key.filter(|key| KEY_BYTES.contains(&key.len())).ok_or("must be whsec_ and the base64 of 24 to 64 bytes")
}

/// Returns the header field `webhook-signature`: a signature by each secret that still holds at `now`, Unix
/// milliseconds.
pub(super) fn header(secrets: &[SigningSecret], id: &str, timestamp: u64, body: &[u8], now: u64) -> String {
    let valid = secrets.iter().filter(|secret| secret.until.is_none_or(|until| now < until));
    let signatures = valid.filter_map(|secret| signature(&key(&secret.secret).ok()?, id, timestamp, body));
    signatures.collect::<Vec<_>>().join(" ")
}

fn signature(key: &[u8], id: &str, timestamp: u64, body: &[u8]) -> Option<String> {
    // A key may have any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn secret(secret: &str, until: Option<u64>) -> SigningSecret {
        SigningSecret { secret: secret.to_owned(), until }
    }

    /// The example of the Standard Webhooks libraries; Python's `hmac` gives the same.
    #[test]
    fn the_published_example_is_signed_as_published() {
        assert_eq!(header(&[secret(SECRET, None)], ID, 1_614_265_330, BODY, 0), SIGNATURE);
    }

    #[test]
    fn a_secret_that_is_being_replaced_signs_until_it_ends() {
        let secrets = [secret(&new_secret(), None), secret(SECRET, Some(10))];
        let both = header(&secrets, ID, 1_614_265_330, BODY, 9);
        assert_eq!(both.split(' ').count(), 2);
        assert!(both.ends_with(SIGNATURE), "{both}");
        assert_eq!(header(&secrets, ID, 1_614_265_330, BODY, 10).split(' ').count(), 1);
    }

    #[test]
    fn secrets_are_of_a_length_that_protects() {
        assert_eq!(key(&new_secret()).unwrap().len(), KEY_BYTES_OWN);
        assert_ne!(new_secret(), new_secret());
        for bad in ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAAA", "whsec_%"] {
            assert!(key(bad).is_err(), "{bad:?} was taken");
        }
    }
}
