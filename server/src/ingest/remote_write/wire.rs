//! The protobuf wire format, read field by field from borrowed bytes: nothing is allocated.
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

/// A field number is at least this.
const NUMBER_MIN: u64 = 1;
/// A field number is at most this.
const NUMBER_MAX: u64 = (1 << 29) - 1;

/// Why bytes are not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The message ends within a field.
    #[error("the message ends within a field")]
    Truncated,
    /// A varint does not fit in 64 bits.
    #[error("a varint is longer than 64 bits")]
    LongVarint,
    /// A field number outside of what protobuf allows.
    #[error("{number} is not a field number")]
    FieldNumber {
        /// What stands there.
        number: u64,
    },
    /// A wire type that proto3 does not have; groups are among them.
    #[error("field {number} has the unknown wire type {wire_type}")]
    WireType {
        /// The field.
        number: u32,
        /// Its wire type.
        wire_type: u8,
    },
    /// A known field has another type than its definition says.
    #[error("field {field} is not {expected}")]
    FieldType {
        /// `Message.field`.
        field: &'static str,
        /// The type that it should have.
        expected: &'static str,
    },
}

/// One field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field<'a> {
    /// Its number, from 1.
    pub(super) number: u32,
    pub(super) value: Value<'a>,
}

/// A field's value as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// An integer, boolean or enum.
    Varint(u64),
    /// A double, or an integer of fixed size.
    Fixed64(u64),
    /// A string, bytes, a message, or packed numbers.
    Bytes(&'a [u8]),
    /// A float, or an integer of fixed size.
    Fixed32(u32),
}

impl<'a> Value<'a> {
    /// A message, bytes or a string.
    pub(super) fn bytes(self, field: &'static str) -> Result<&'a [u8], WireError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(WireError::FieldType { field, expected: "length-delimited" }),
        }
    }

    /// A double.
    pub(super) fn double(self, field: &'static str) -> Result<f64, WireError> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(WireError::FieldType { field, expected: "a double" }),
        }
    }

    /// An `int64`.
    pub(super) fn int64(self, field: &'static str) -> Result<i64, WireError> {
        match self {
            Self::Varint(value) => Ok(value.cast_signed()),
            _ => Err(WireError::FieldType { field, expected: "an int64" }),
        }
    }
}

impl Value<'_> {
    /// A `uint64` or `uint32`.
    pub(super) fn uint64(self, field: &'static str) -> Result<u64, WireError> {
        match self {
            Self::Varint(value) => Ok(value),
            _ => Err(WireError::FieldType { field, expected: "an unsigned integer" }),
        }
    }

    /// A `sint32`.
    pub(super) fn sint32(self, field: &'static str) -> Result<i32, WireError> {
        match self {
            Self::Varint(value) => {
                let value = value as u32;
                Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
            }
            _ => Err(WireError::FieldType { field, expected: "a sint32" }),
        }
    }

    /// Appends repeated numbers of type `sint64`: packed, or one of them.
    pub(super) fn sint64s(self, field: &'static str, out: &mut Vec<i64>) -> Result<(), WireError> {
        match self {
            Self::Varint(value) => out.push(unzigzag(value)),
            Self::Bytes(bytes) => {
                let mut packed = Fields::new(bytes);
                while !packed.rest.is_empty() {
                    out.push(unzigzag(packed.varint()?));
                }
            }
            _ => return Err(WireError::FieldType { field, expected: "repeated sint64" }),
        }
        Ok(())
    }

    /// Appends repeated doubles: packed, or one of them.
    pub(super) fn doubles(self, field: &'static str, out: &mut Vec<f64>) -> Result<(), WireError> {
        match self {
            Self::Fixed64(bits) => out.push(f64::from_bits(bits)),
            Self::Bytes(bytes) => {
                let (words, rest) = bytes.as_chunks::<8>();
                if !rest.is_empty() {
                    return Err(WireError::Truncated);
                }
                out.extend(words.iter().map(|word| f64::from_le_bytes(*word)));
            }
            _ => return Err(WireError::FieldType { field, expected: "repeated double" }),
        }
        Ok(())
    }
}

const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// The fields of a message in the order of the wire. It ends after the first error.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    #[inline]
    fn field(&mut self) -> Result<Field<'a>, WireError> {
        let key = self.varint()?;
        let (wire_type, number) = ((key & 7) as u8, key >> 3);
        if !(NUMBER_MIN..=NUMBER_MAX).contains(&number) {
            return Err(WireError::FieldNumber { number });
        }
        let number = number as u32;
        let value = match wire_type {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                let length = usize::try_from(length).map_err(|_| WireError::Truncated)?;
                let (bytes, rest) = self.rest.split_at_checked(length).ok_or(WireError::Truncated)?;
                self.rest = rest;
                Value::Bytes(bytes)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(WireError::WireType { number, wire_type }),
        };
        Ok(Field { number, value })
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(WireError::Truncated)?;
            self.rest = rest;
            // The tenth byte has room for one bit.
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WireError::LongVarint)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*array)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message: &[u8]) -> Result<Vec<(u32, Value<'_>)>, WireError> {
        Fields::new(message).map(|field| field.map(|field| (field.number, field.value))).collect()
    }

    #[test]
    fn fields_of_all_wire_types_are_read() {
        let message = b"\x08\x96\x01\x11\x01\0\0\0\0\0\0\0\x1a\x02ab\x25\x02\0\0\0\xf8\xff\xff\xff\x0f\0";
        assert_eq!(
            read(message),
            Ok(vec![
                (1, Value::Varint(150)),
                (2, Value::Fixed64(1)),
                (3, Value::Bytes(b"ab")),
                (4, Value::Fixed32(2)),
                (NUMBER_MAX as u32, Value::Varint(0)),
            ])
        );
        let negative = [&[0x08][..], &[0xff; 9], &[0x01]].concat();
        assert_eq!(read(&negative).unwrap()[0].1.int64("x"), Ok(-1));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for (message, error) in [
            (&b"\x08"[..], WireError::Truncated),
            (b"\x08\x80", WireError::Truncated),
            (b"\x09\0\0\0", WireError::Truncated),
            (b"\x0d\0\0\0", WireError::Truncated),
            (b"\x0a\x02a", WireError::Truncated),
            (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", WireError::Truncated),
            (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", WireError::LongVarint),
            (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\0", WireError::LongVarint),
            (b"\0\0", WireError::FieldNumber { number: 0 }),
            (b"\x80\x80\x80\x80\x10\0", WireError::FieldNumber { number: 1 << 29 }),
            (b"\x0b\x0c", WireError::WireType { number: 1, wire_type: 3 }),
        ] {
            assert_eq!(read(message), Err(error), "{message:?}");
        }
    }
}
