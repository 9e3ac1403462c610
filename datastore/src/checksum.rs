//! CRC-32C, the sum etcd compares its members' data by.

/// The Castagnoli polynomial, its lowest power first.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The sum of what `sum` is the sum of, followed by `bytes`; that of nothing is 0.
pub(crate) fn extend(sum: u32, bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!sum, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| sum >> 1 ^ if sum & 1 == 1 { POLYNOMIAL } else { 0 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums() {
        assert_eq!(extend(0, b""), 0);
        assert_eq!(extend(0, b"123456789"), 0xe306_9283);
        assert_eq!(extend(extend(0, b"1234"), b"56789"), 0xe306_9283);
    }
}
