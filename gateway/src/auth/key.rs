//! One key that verifies signatures, with the one algorithm that it is used for.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey, Header, crypto,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use serde_json::{Map, Value};

use super::{AuthError, secret::Secret};

/// The shortest RSA modulus, in bytes: 2048 bits (RFC 7518 section 3.3).
const RSA_BYTES_MIN: usize = 256;

/// The longest RSA modulus, in bytes: 4096 bits. Beyond it the library refuses every signature.
const RSA_BYTES_MAX: usize = 512;

/// Why something is not a key that verifies tokens. The texts complete "it holds …" and never repeat
/// the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    /// A private key, which has no business on a node that only verifies.
    #[error("a private key: give its public key, as `openssl pkey -pubout` prints it")]
    Private,
    /// A certificate, which holds the key.
    #[error("a certificate: give its public key, as `openssl x509 -pubkey -noout` prints it")]
    Certificate,
    /// Nothing that can be read as a key.
    #[error("no public key: give the PEM text of an RSA, P-256 or Ed25519 key (-----BEGIN PUBLIC KEY-----)")]
    Unreadable,
    /// A kind of key, or an algorithm, that is not used here.
    #[error("a key of another kind: give one for RS256 (RSA), ES256 (P-256) or EdDSA (Ed25519)")]
    Unsupported,
    /// An RSA key outside of what is safe and supported.
    #[error("an RSA key of an unusable size: give one of 2048 to 4096 bits")]
    RsaSize,
}

/// A key and its algorithm.
#[derive(Clone)]
pub struct Key {
    algorithm: Algorithm,
    decoding: DecodingKey,
}

impl Key {
    /// Creates the key of a shared secret: HS256.
    pub fn from_secret(secret: &Secret) -> Self {
        Self { algorithm: Algorithm::HS256, decoding: DecodingKey::from_secret(secret.reveal().as_bytes()) }
    }

    /// Reads a public key as PEM text: RSA (RS256), P-256 (ES256) or Ed25519 (EdDSA).
    ///
    /// # Errors
    /// When it is anything else.
    pub(crate) fn from_pem(pem: &str) -> Result<Self, KeyError> {
        if pem.contains("PRIVATE KEY-----") {
            return Err(KeyError::Private);
        }
        if pem.contains("-----BEGIN CERTIFICATE-----") {
            return Err(KeyError::Certificate);
        }
        let pem = pem.as_bytes();
        let key = DecodingKey::from_rsa_pem(pem)
            .or_else(|_| DecodingKey::from_ec_pem(pem))
            .or_else(|_| DecodingKey::from_ed_pem(pem))
            .map_err(|_| KeyError::Unreadable)?;
        // By way of a JWK, so that both sources pass the same checks.
        let jwk = Jwk::from_decoding_key(&key, None).map_err(|_| KeyError::Unreadable)?;
        Self::from_jwk(&jwk)
    }

    /// Reads a published key. Its own `alg` is only checked, never followed.
    ///
    /// # Errors
    /// When it is not for signatures, or of a kind that is not used here. A symmetric key is never
    /// taken from there: what is published is no secret.
    pub(super) fn from_jwk(jwk: &Jwk) -> Result<Self, KeyError> {
        if jwk.common.public_key_use.as_ref().is_some_and(|usage| *usage != PublicKeyUse::Signature) {
            return Err(KeyError::Unsupported);
        }
        let (algorithm, name) = match &jwk.algorithm {
            AlgorithmParameters::RSA(rsa) => {
                let modulus = octets(&rsa.n)?;
                if !(RSA_BYTES_MIN..=RSA_BYTES_MAX).contains(&modulus) {
                    return Err(KeyError::RsaSize);
                }
                (Algorithm::RS256, KeyAlgorithm::RS256)
            }
            AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => {
                if octets(&ec.x)? != 32 || octets(&ec.y)? != 32 {
                    return Err(KeyError::Unreadable);
                }
                (Algorithm::ES256, KeyAlgorithm::ES256)
            }
            AlgorithmParameters::OctetKeyPair(okp) if okp.curve == EllipticCurve::Ed25519 => {
                // The library slices 32 bytes off it without looking.
                if octets(&okp.x)? != 32 {
                    return Err(KeyError::Unreadable);
                }
                (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
            }
            _ => return Err(KeyError::Unsupported),
        };
        if jwk.common.key_algorithm.is_some_and(|given| given != name) {
            return Err(KeyError::Unsupported);
        }
        let decoding = DecodingKey::from_jwk(jwk).map_err(|_| KeyError::Unreadable)?;
        Ok(Self { algorithm, decoding })
    }

    /// Returns whether this key verifies signatures of this algorithm.
    pub(super) fn is_for(&self, algorithm: Algorithm) -> bool {
        self.algorithm == algorithm
    }

    /// Checks the signature and returns the claims, which are not checked yet. `header` is the token's own, as
    /// [`header`] reads it.
    pub(super) fn verify(&self, token: &str, header: &Header) -> Result<Map<String, Value>, AuthError> {
        if !self.is_for(header.alg) {
            return Err(AuthError::WrongAlgorithm);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(AuthError::Malformed)?;
        let (_, payload) = message.rsplit_once('.').ok_or(AuthError::Malformed)?;
        let good = crypto::verify(signature, message.as_bytes(), &self.decoding, self.algorithm)
            .map_err(|_| AuthError::Malformed)?;
        if !good {
            return Err(AuthError::BadSignature);
        }
        // RFC 7515 section 4.1.11: a critical extension that is not understood invalidates the token.
        if header.crit.is_some() {
            return Err(AuthError::UnknownExtension);
        }
        // The library does not read the claims: it calls a token malformed when a claim is of another type than
        // it expects, even a claim that it was told not to check.
        let claims = URL_SAFE_NO_PAD.decode(payload).map_err(|_| AuthError::Malformed)?;
        serde_json::from_slice(&claims).map_err(|_| AuthError::Malformed)
    }
}

/// Returns the header of a token. No signature has been checked yet.
pub(super) fn header(token: &str) -> Result<Header, AuthError> {
    jsonwebtoken::decode_header(token).map_err(|_| AuthError::Malformed)
}

/// Returns the number of bytes that a base64url text holds.
fn octets(text: &str) -> Result<usize, KeyError> {
    URL_SAFE_NO_PAD.decode(text).map(|bytes| bytes.len()).map_err(|_| KeyError::Unreadable)
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", self.algorithm)
    }
}
