//! A response as it goes over the wire, with what may be wrong with it there: its status, its headers, how it says where it
//! ends, and bytes of its body.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// How a response says where it ends.
#[derive(Clone, Debug)]
enum Framing {
    Length,
    Chunks(usize),
    End,
    /// It says that it is shorter than it is.
    Short(Index),
    /// It says that it is longer than it is.
    Long,
    /// It says what makes no sense.
    Nonsense(&'static str),
}

#[derive(Clone, Debug)]
pub(super) struct Wire {
    pub(super) status: u16,
    headers: Vec<(&'static str, String)>,
    framing: Framing,
    body: Vec<u8>,
}

impl Wire {
    /// As the service sends it.
    pub(super) fn plain(status: u16, body: &[u8]) -> Self {
        Self { status, headers: Vec::new(), framing: Framing::Length, body: body.to_vec() }
    }

    pub(super) fn with(mut self, header: &'static str, value: String) -> Self {
        self.headers.push((header, value));
        self
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("HTTP/1.1 {} Whatever\r\n", self.status).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend(format!("{name}: {value}\r\n").bytes());
        }
        let length = |length: usize| format!("content-length: {length}\r\n\r\n");
        let head = match &self.framing {
            Framing::Length => length(self.body.len()),
            Framing::Chunks(_) => "transfer-encoding: chunked\r\n\r\n".to_owned(),
            Framing::End => "\r\n".to_owned(),
            Framing::Short(to) => length(to.index(self.body.len() + 1)),
            Framing::Long => length(self.body.len() + 1),
            Framing::Nonsense(value) => format!("content-length: {value}\r\n\r\n"),
        };
        bytes.extend(head.bytes());
        match self.framing {
            Framing::Chunks(size) => {
                for chunk in self.body.chunks(size) {
                    bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                    bytes.extend(chunk);
                    bytes.extend(b"\r\n");
                }
                bytes.extend(b"0\r\n\r\n");
            }
            Framing::Length | Framing::End | Framing::Short(_) | Framing::Long | Framing::Nonsense(_) => {
                bytes.extend(&self.body);
            }
        }
        bytes
    }

    /// The body as whoever reads it to its end has it; none, if it is told to be incomplete or where it ends is not to be told.
    pub(super) fn body(&self) -> Option<&[u8]> {
        match &self.framing {
            Framing::Length | Framing::Chunks(_) | Framing::End => Some(&self.body),
            Framing::Short(to) => self.body.get(..to.index(self.body.len() + 1)),
            Framing::Long | Framing::Nonsense(_) => None,
        }
    }

    /// Whether a text is anywhere in it.
    pub(super) fn says(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.body).contains(text) || self.headers.iter().any(|(_, value)| value.contains(text))
    }
}

/// What else can be wrong with a body.
#[derive(Clone, Debug)]
enum Blur {
    Cut(Index),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Front(&'static [u8]),
    Back(&'static [u8]),
    Twice,
}

impl Blur {
    fn apply(&self, body: &mut Vec<u8>) {
        let place = |index: &Index| index.index(body.len() + 1);
        match self {
            Self::Cut(at) => body.truncate(place(at)),
            Self::Flip(at, bits) => {
                let place = place(at);
                body.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= bits);
            }
            Self::Insert(at, bytes) => {
                drop(body.splice(place(at)..place(at), bytes.iter().copied()).collect::<Vec<_>>())
            }
            Self::Front(bytes) => drop(body.splice(0..0, bytes.iter().copied()).collect::<Vec<_>>()),
            Self::Back(bytes) => body.extend(*bytes),
            Self::Twice => body.extend_from_within(..),
        }
    }
}

fn blur() -> impl Strategy<Value = Blur> {
    let front: Vec<&[u8]> = vec![b"\xef\xbb\xbf", b" \r\n\t", b")]}',\n", b"\0"];
    let back: Vec<&[u8]> = vec![b" \r\n", b"x", b"\0", b"<html></html>", b"{}", b"\xff"];
    prop_oneof![
        any::<Index>().prop_map(Blur::Cut),
        (any::<Index>(), 1_u8..).prop_map(|(at, bits)| Blur::Flip(at, bits)),
        (any::<Index>(), vec(any::<u8>(), 1..4)).prop_map(|(at, bytes)| Blur::Insert(at, bytes)),
        select(front).prop_map(Blur::Front),
        select(back).prop_map(Blur::Back),
        Just(Blur::Twice),
    ]
}

/// Bodies of somebody else's.
fn foreign_body() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&[u8]> = vec![
        b"",
        b" ",
        b"\r\n\t ",
        b"{}",
        b" {} ",
        b"{}{}",
        b"null",
        b"[]",
        b"true",
        b"0",
        b"\"{}\"",
        b"\xef\xbb\xbf{}",
        b"{",
        b"{\"error\":\"blocked\"}",
        b"{\"message\":\"sign in\",\"code\":302}",
        b"{\"approvedAt\":\"yesterday\"}",
        b"{\"__type\":\"ThrottlingException\",\"message\":\"Rate exceeded\"}",
        b"<html><body>Please sign in</body></html>",
        b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\xae\x05\0\x43\xbf\xa6\xa3\x02\0\0\0",
    ];
    prop_oneof![3 => select(known).prop_map(<[u8]>::to_vec), 1 => vec(any::<u8>(), 0..200)]
}

fn framing() -> impl Strategy<Value = Framing> {
    let nonsense = select(vec!["-1", "abc", "", "18446744073709551616", "0x2", "2, 3", "1e3"]);
    prop_oneof![
        12 => Just(Framing::Length),
        2 => (1_usize..2000).prop_map(Framing::Chunks),
        2 => Just(Framing::End),
        1 => any::<Index>().prop_map(Framing::Short),
        1 => Just(Framing::Long),
        1 => nonsense.prop_map(Framing::Nonsense),
    ]
}

fn header() -> impl Strategy<Value = (&'static str, String)> {
    let plain = |name: &'static str, values: &'static [&'static str]| {
        select(values).prop_map(move |value| (name, value.to_owned()))
    };
    prop_oneof![
        plain("content-type", &["application/x-amz-json-1.1", "text/html", "", "application/cbor"]),
        plain("content-encoding", &["gzip", "identity", "nonsense"]),
        plain("location", &["/", "http://127.0.0.1:1/", "::"]),
        plain("connection", &["close", "keep-alive", "upgrade"]),
        plain("x-amzn-query-error", &["Sender", "ThrottlingException;Sender", ";"]),
        plain("date", &["Thu, 01 Jan 1970 00:00:00 GMT", "yesterday"]),
        prop_oneof![Just(1_usize), Just(10_000)].prop_map(|length| ("x-amzn-requestid", "r".repeat(length))),
    ]
}

/// A response of some status with such a body, or with another one.
pub(super) fn wires(status: impl Strategy<Value = u16>, body: BoxedStrategy<Vec<u8>>) -> impl Strategy<Value = Wire> {
    let blurred = (body.clone(), vec(blur(), 1..3)).prop_map(|(mut body, blurs)| {
        blurs.iter().for_each(|blur| blur.apply(&mut body));
        body
    });
    let body = prop_oneof![4 => body, 2 => blurred, 1 => foreign_body()];
    (status, vec(header(), 0..3), framing(), body).prop_map(|(status, headers, framing, body)| Wire {
        status,
        headers,
        framing,
        body,
    })
}

/// The bytes of a response, some of them changed, or any bytes.
pub(super) fn noise(wire: impl Strategy<Value = Wire>) -> impl Strategy<Value = Vec<u8>> {
    let blurred = (wire, vec(blur(), 1..4)).prop_map(|(wire, blurs)| {
        let mut bytes = wire.bytes();
        blurs.iter().for_each(|blur| blur.apply(&mut bytes));
        bytes
    });
    prop_oneof![4 => blurred, 1 => vec(any::<u8>(), 0..300)]
}
