//! JSON forms that several commands share.

use serde_json::{Value, json};

/// Bytes as JSON: a string if they are UTF-8, else `{"hex": "..."}`.
pub(crate) fn bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(_) => json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
    }
}
