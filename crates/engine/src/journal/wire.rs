//! The bytes that numbers and texts are made of: LEB128 varints, zigzag for signed numbers, length before bytes.
//! Reading checks every bound: what is on disk may be anything.

use bytes::Bytes;
use bytestring::ByteString;

/// Bytes that do not follow the format. Where they are, the caller knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub &'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(crate) fn put_zigzag(out: &mut Vec<u8>, number: i64) {
    put_varint(out, ((number << 1) ^ (number >> 63)) as u64);
}

pub(crate) fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A reader over a shared buffer: what it takes out are slices of it, not copies.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    bytes: Bytes,
    at: usize,
}

impl Input {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(crate) fn rest(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) fn place(&self) -> usize {
        self.at
    }

    /// The bytes between an earlier place and here.
    pub(crate) fn since(&self, place: usize) -> Bytes {
        self.bytes.slice(place.min(self.at)..self.at)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        let byte = *self.bytes.get(self.at).ok_or(Malformed("ends within a byte's place"))?;
        self.at += 1;
        Ok(byte)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed("a number is longer than 64 bits"))
    }

    pub(crate) fn zigzag(&mut self) -> Result<i64, Malformed> {
        let number = self.varint()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// A number that counts things of at least one byte each, so that it cannot be larger than what is left.
    pub(crate) fn count(&mut self) -> Result<usize, Malformed> {
        let number = usize::try_from(self.varint()?).map_err(|_| Malformed("a count is too large"))?;
        if number > self.rest() { Err(Malformed("a count is larger than its bytes")) } else { Ok(number) }
    }

    pub(crate) fn skip(&mut self, len: usize) -> Result<(), Malformed> {
        if len > self.rest() {
            return Err(Malformed("ends within a value"));
        }
        self.at += len;
        Ok(())
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<Bytes, Malformed> {
        let from = self.at;
        self.skip(len)?;
        Ok(self.bytes.slice(from..self.at))
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let from = self.at;
        self.skip(N)?;
        let slice = self.bytes.get(from..self.at).unwrap_or_default();
        slice.try_into().map_err(|_| Malformed("ends within a number"))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn sized(&mut self) -> Result<Bytes, Malformed> {
        let len = self.count()?;
        self.take(len)
    }

    pub(crate) fn text(&mut self, len: usize) -> Result<ByteString, Malformed> {
        ByteString::try_from(self.take(len)?).map_err(|_| Malformed("text is not UTF-8"))
    }

    pub(crate) fn sized_text(&mut self) -> Result<ByteString, Malformed> {
        let len = self.count()?;
        self.text(len)
    }
}
