//! Protobuf as it is written: fields one after the other, each with its number and its kind.

/// Wire types.
pub(crate) const VARINT: u32 = 0;
pub(crate) const FIXED64: u32 = 1;
pub(crate) const BYTES: u32 = 2;
pub(crate) const FIXED32: u32 = 5;
/// Most bytes of a number.
pub(crate) const LONGEST: usize = 10;

/// A message within a message. Its length stands before it and is known only afterwards: one byte is kept for it, and what is longer
/// is moved.
pub(crate) fn nested(out: &mut Vec<u8>, field: u32, content: impl FnOnce(&mut Vec<u8>)) {
    number(out, field, BYTES);
    let place = out.len();
    out.push(0);
    content(out);
    let mut length = (out.len() - place - 1) as u64;
    let mut at = place;
    while length >= 0x80 {
        let low = (length & 0x7f) as u8 | 0x80;
        match out.get_mut(at) {
            Some(byte) if at == place => *byte = low,
            _ => out.insert(at, low),
        }
        length >>= 7;
        at += 1;
    }
    match out.get_mut(at) {
        Some(byte) if at == place => *byte = length as u8,
        _ => out.insert(at, length as u8),
    }
}

/// A text, unless it is empty: to its reader that is the same.
pub(crate) fn text(out: &mut Vec<u8>, field: u32, text: &str) {
    if !text.is_empty() {
        bytes(out, field, text.as_bytes());
    }
}

/// Bytes, or a text that is written also where it is empty.
pub(crate) fn bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    number(out, field, BYTES);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A number, unless it is zero.
pub(crate) fn count(out: &mut Vec<u8>, field: u32, count: u32) {
    if count > 0 {
        number(out, field, VARINT);
        varint(out, u64::from(count));
    }
}

/// Number and kind of a field.
pub(crate) fn number(out: &mut Vec<u8>, field: u32, wire: u32) {
    varint(out, u64::from(field << 3 | wire));
}

/// A number of as many bytes as it needs.
pub(crate) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
