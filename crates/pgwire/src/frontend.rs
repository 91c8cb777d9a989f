//! What clients say.
//!
//! The decoders of the `pgwire` crate trust the counts and lengths inside of a message, and read on into the next one
//! where they are wrong, or panic. Here a message is all there is, and whatever it claims beyond its end is an error.
//! The forms are those of <https://www.postgresql.org/docs/current/protocol-message-formats.html>.

use bytes::{Buf, Bytes};

use crate::frames::Frame;

/// A message that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub(crate) String);

/// What may come before anybody has said who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Startup {
    Ssl,
    Gss,
    Cancel {
        process: i32,
        secret: Bytes,
    },
    /// The minor version of protocol 3, and what the client says about itself.
    Hello {
        minor: u16,
        parameters: Vec<(String, String)>,
    },
}

/// What is named in `Describe` and `Close`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    Statement(String),
    Portal(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frontend {
    Query(String),
    Parse {
        statement: String,
        sql: String,
        types: Vec<u32>,
    },
    Bind(Bind),
    Describe(Named),
    /// `rows`: at most so many, 0: all.
    Execute {
        portal: String,
        rows: u32,
    },
    Close(Named),
    Flush,
    Sync,
    Terminate,
    Password(String),
    /// A part of COPY, which nothing here has asked for.
    Copy,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bind {
    pub(crate) portal: String,
    pub(crate) statement: String,
    pub(crate) formats: Formats,
    pub(crate) values: Vec<Option<Bytes>>,
    pub(crate) results: Formats,
}

/// Text or binary, for each of a row of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Formats {
    All { binary: bool },
    Each(Vec<bool>),
}

impl Formats {
    /// Everything as text.
    pub(crate) const TEXT: Self = Self::All { binary: false };

    pub(crate) fn is_binary(&self, at: usize) -> bool {
        match self {
            Self::All { binary } => *binary,
            Self::Each(each) => each.get(at).copied().unwrap_or_default(),
        }
    }

    /// Whether they are for so many values.
    pub(crate) fn fit(&self, count: usize) -> bool {
        matches!(self, Self::All { .. }) || matches!(self, Self::Each(each) if each.len() == count)
    }
}

const PROTOCOL_MAJOR: u16 = 3;
const CANCEL: u32 = 80_877_102;
const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;

/// The longest key of a cancel request in protocol 3.2.
const SECRET_MAX: usize = 256;

impl Startup {
    pub(crate) fn decode(body: Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader { body, of: "the first message" };
        match reader.u32()? {
            SSL => Ok(Self::Ssl),
            GSS => Ok(Self::Gss),
            CANCEL => {
                let process = reader.i32()?;
                if reader.body.len() > SECRET_MAX {
                    return Err(reader.malformed("a key that is too long"));
                }
                Ok(Self::Cancel { process, secret: reader.body })
            }
            version => {
                let [major, minor] = [(version >> 16) as u16, (version & 0xffff) as u16];
                if major != PROTOCOL_MAJOR {
                    return Err(Malformed(format!(
                        "version {major}.{minor} of the protocol is not spoken here: 3.0 is"
                    )));
                }
                let mut parameters = Vec::new();
                loop {
                    let name = reader.text()?;
                    if name.is_empty() {
                        return Ok(Self::Hello { minor, parameters });
                    }
                    parameters.push((name, reader.text()?));
                }
            }
        }
    }
}

impl Frontend {
    pub(crate) fn decode(frame: Frame) -> Result<Self, Malformed> {
        let of = match frame.kind {
            b'Q' => "Query",
            b'P' => "Parse",
            b'B' => "Bind",
            b'D' => "Describe",
            b'E' => "Execute",
            b'C' => "Close",
            b'H' => "Flush",
            b'S' => "Sync",
            b'X' => "Terminate",
            b'p' => "a password",
            b'd' | b'c' | b'f' => "COPY",
            other => return Err(Malformed(format!("there is no message of type {:?}", char::from(other)))),
        };
        let mut reader = Reader { body: frame.body, of };
        let message = match frame.kind {
            b'Q' => Self::Query(reader.text()?),
            b'P' => Self::Parse { statement: reader.text()?, sql: reader.text()?, types: reader.list(Reader::u32)? },
            b'B' => Self::Bind(reader.bind()?),
            b'D' => Self::Describe(reader.named()?),
            b'E' => Self::Execute {
                portal: reader.text()?,
                // What is below zero means all, as zero does.
                rows: u32::try_from(reader.i32()?).unwrap_or_default(),
            },
            b'C' => Self::Close(reader.named()?),
            b'H' => Self::Flush,
            b'S' => Self::Sync,
            b'X' => Self::Terminate,
            b'p' => Self::Password(reader.text()?),
            _ => return Ok(Self::Copy),
        };
        match reader.body.is_empty() {
            true => Ok(message),
            false => Err(reader.malformed("more than belongs there")),
        }
    }

    /// Whether an error in it is told at once, and all up to the next `Sync` is passed over.
    pub(crate) fn is_extended(&self) -> bool {
        !matches!(self, Self::Query(_) | Self::Terminate | Self::Password(_) | Self::Copy)
    }
}

/// Reads a message from its start to its end and no further.
struct Reader {
    body: Bytes,
    of: &'static str,
}

impl Reader {
    fn malformed(&self, what: &str) -> Malformed {
        Malformed(format!("{} is malformed: {what}", self.of))
    }

    fn has(&self, bytes: usize) -> Result<(), Malformed> {
        if self.body.len() < bytes { Err(self.malformed("it is too short")) } else { Ok(()) }
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.has(2).map(|()| self.body.get_u16())
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.has(4).map(|()| self.body.get_u32())
    }

    fn i32(&mut self) -> Result<i32, Malformed> {
        self.has(4).map(|()| self.body.get_i32())
    }

    /// Text up to a zero byte.
    fn text(&mut self) -> Result<String, Malformed> {
        let end = self.body.iter().position(|byte| *byte == 0).ok_or_else(|| self.malformed("a text has no end"))?;
        let bytes = self.body.split_to(end);
        self.body.advance(1);
        String::from_utf8(bytes.to_vec()).map_err(|_| self.malformed("a text is not UTF-8"))
    }

    /// A count, and so many of what `item` reads.
    fn list<T>(&mut self, item: impl Fn(&mut Self) -> Result<T, Malformed>) -> Result<Vec<T>, Malformed> {
        // The items are there, or reading ends: nothing is reserved for what is only promised.
        (0..self.u16()?).map(|_| item(self)).collect()
    }

    fn formats(&mut self) -> Result<Formats, Malformed> {
        let codes = self.list(|reader| match reader.u16()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(reader.malformed(&format!("there is no format {other}"))),
        })?;
        Ok(match codes.as_slice() {
            [] => Formats::TEXT,
            [binary] => Formats::All { binary: *binary },
            _ => Formats::Each(codes),
        })
    }

    fn value(&mut self) -> Result<Option<Bytes>, Malformed> {
        match usize::try_from(self.i32()?) {
            Ok(length) => self.has(length).map(|()| Some(self.body.split_to(length))),
            Err(_) => Ok(None),
        }
    }

    fn bind(&mut self) -> Result<Bind, Malformed> {
        Ok(Bind {
            portal: self.text()?,
            statement: self.text()?,
            formats: self.formats()?,
            values: self.list(Self::value)?,
            results: self.formats()?,
        })
    }

    fn named(&mut self) -> Result<Named, Malformed> {
        self.has(1)?;
        match self.body.get_u8() {
            b'S' => Ok(Named::Statement(self.text()?)),
            b'P' => Ok(Named::Portal(self.text()?)),
            _ => Err(self.malformed("it is of neither a statement nor a portal")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(kind: u8, body: &[u8]) -> Result<Frontend, Malformed> {
        Frontend::decode(Frame { kind, body: Bytes::copy_from_slice(body) })
    }

    #[test]
    fn messages_are_read_to_their_end() {
        assert_eq!(decode(b'Q', b"select 1\0").unwrap(), Frontend::Query("select 1".to_owned()));
        let parse = decode(b'P', b"s\0select $1\0\0\x01\0\0\0\x17").unwrap();
        let expected = Frontend::Parse { statement: "s".to_owned(), sql: "select $1".to_owned(), types: vec![23] };
        assert_eq!(parse, expected);
        let bind = decode(b'B', b"\0s\0\0\x01\0\x01\0\x02\0\0\0\x02ab\xff\xff\xff\xff\0\0").unwrap();
        let Frontend::Bind(bind) = bind else { panic!("{bind:?}") };
        assert_eq!(bind.values, [Some(Bytes::from_static(b"ab")), None]);
        assert!(bind.formats.is_binary(1) && !bind.results.is_binary(0));
        assert_eq!(decode(b'E', b"\0\xff\xff\xff\xff").unwrap(), Frontend::Execute { portal: String::new(), rows: 0 });
    }

    #[test]
    fn what_a_message_claims_beyond_its_end_is_told() {
        for (kind, body, told) in [
            (b'Q', &b"select 1"[..], "Query is malformed: a text has no end"),
            (b'Q', b"a\0b", "Query is malformed: more than belongs there"),
            (b'P', b"\0x\0\xff\xff", "Parse is malformed: it is too short"),
            (b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff", "Bind is malformed: it is too short"),
            (b'B', b"\0\0\0\x01\0\x07", "Bind is malformed: there is no format 7"),
            (b'D', b"T\0", "Describe is malformed: it is of neither a statement nor a portal"),
            (b'?', b"", "there is no message of type '?'"),
        ] {
            assert_eq!(decode(kind, body).unwrap_err().to_string(), told);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn any_bytes_are_a_message_or_an_error(kind: u8, body: Vec<u8>) {
            let _ = decode(kind, &body);
            for kind in *b"QPBDECHSXp" {
                let _ = decode(kind, &body);
            }
            let _ = Startup::decode(Bytes::from(body));
        }
    }
}
