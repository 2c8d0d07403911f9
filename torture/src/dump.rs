//! A `dump.rdb` of one key, for what a server makes of one that lies in its folder.

/// The key.
pub(crate) const KEY: &[u8] = b"greeting";
/// Its value.
pub(crate) const VALUE: &[u8] = b"hello";
/// RDB version 9: database 0, one string, the end, and a checksum of 0, which means none.
pub(crate) const BYTES: &[u8] = b"REDIS0009\xfe\x00\x00\x08greeting\x05hello\xff\0\0\0\0\0\0\0\0";
