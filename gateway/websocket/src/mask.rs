//! Masking of clients' payloads (RFC 6455 section 5.3).

/// Removes the mask, which starts at its first byte with the first byte of the payload. Wide steps are
/// what the compiler makes vector instructions of.
pub(crate) fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let word = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask) {
        *byte ^= mask;
    }
    // Words hold the mask twice, so the rest starts where the mask does, and is shorter than two of it.
    for (byte, mask) in rest.iter_mut().skip(mask.len()).zip(mask) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_byte_meets_its_part_of_the_mask(payload: Vec<u8>, mask: [u8; 4]) {
            let mut unmasked = payload.clone();
            unmask(&mut unmasked, mask);
            let expected: Vec<u8> =
                payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]).collect();
            prop_assert_eq!(unmasked, expected);
        }
    }
}
