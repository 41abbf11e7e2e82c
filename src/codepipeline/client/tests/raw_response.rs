//! A response as bytes on the wire, and what can be wrong with it there: its status, its headers, its framing, and the bytes of
//! its body.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// How a response marks its end.
#[derive(Clone, Debug)]
enum Framing {
    Length,
    Chunks(usize),
    Close,
    /// Its content-length is too small.
    Short(Index),
    /// Its content-length is too large.
    Long,
    /// Its content-length is invalid.
    Nonsense(&'static str),
}

#[derive(Clone, Debug)]
pub(super) struct RawResponse {
    pub(super) status: u16,
    headers: Vec<(&'static str, String)>,
    framing: Framing,
    body: Vec<u8>,
}

impl RawResponse {
    /// A response as CodePipeline sends it.
    pub(super) fn plain(status: u16, body: &[u8]) -> Self {
        Self { status, headers: Vec::new(), framing: Framing::Length, body: body.to_vec() }
    }

    pub(super) fn with(mut self, header: &'static str, value: String) -> Self {
        self.headers.push((header, value));
        self
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("HTTP/1.1 {} Reason\r\n", self.status).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend(format!("{name}: {value}\r\n").bytes());
        }
        let length = |length: usize| format!("content-length: {length}\r\n\r\n");
        let head = match &self.framing {
            Framing::Length => length(self.body.len()),
            Framing::Chunks(_) => "transfer-encoding: chunked\r\n\r\n".to_owned(),
            Framing::Close => "\r\n".to_owned(),
            Framing::Short(length_index) => length(length_index.index(self.body.len() + 1)),
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
            Framing::Length | Framing::Close | Framing::Short(_) | Framing::Long | Framing::Nonsense(_) => {
                bytes.extend(&self.body);
            }
        }
        bytes
    }

    /// The body that a client receives; none if the body is incomplete or its end is unknown.
    pub(super) fn body(&self) -> Option<&[u8]> {
        match &self.framing {
            Framing::Length | Framing::Chunks(_) | Framing::Close => Some(&self.body),
            Framing::Short(length_index) => self.body.get(..length_index.index(self.body.len() + 1)),
            Framing::Long | Framing::Nonsense(_) => None,
        }
    }

    /// Whether the body or a header contains a text.
    pub(super) fn contains(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.body).contains(text) || self.headers.iter().any(|(_, value)| value.contains(text))
    }
}

/// A way to corrupt bytes.
#[derive(Clone, Debug)]
enum Corruption {
    Cut(Index),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Prepend(&'static [u8]),
    Append(&'static [u8]),
    Repeat,
}

impl Corruption {
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
            Self::Prepend(bytes) => drop(body.splice(0..0, bytes.iter().copied()).collect::<Vec<_>>()),
            Self::Append(bytes) => body.extend(*bytes),
            Self::Repeat => body.extend_from_within(..),
        }
    }
}

fn corruption() -> impl Strategy<Value = Corruption> {
    let prefixes: Vec<&[u8]> = vec![b"\xef\xbb\xbf", b" \r\n\t", b")]}',\n", b"\0"];
    let suffixes: Vec<&[u8]> = vec![b" \r\n", b"x", b"\0", b"<html></html>", b"{}", b"\xff"];
    prop_oneof![
        any::<Index>().prop_map(Corruption::Cut),
        (any::<Index>(), 1_u8..).prop_map(|(at, bits)| Corruption::Flip(at, bits)),
        (any::<Index>(), vec(any::<u8>(), 1..4)).prop_map(|(at, bytes)| Corruption::Insert(at, bytes)),
        select(prefixes).prop_map(Corruption::Prepend),
        select(suffixes).prop_map(Corruption::Append),
        Just(Corruption::Repeat),
    ]
}

/// Bodies that do not come from CodePipeline.
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
        2 => Just(Framing::Close),
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

/// Responses with such a status and such a body, a corrupted one, or a foreign one.
pub(super) fn raw_responses(
    status: impl Strategy<Value = u16>,
    body: BoxedStrategy<Vec<u8>>,
) -> impl Strategy<Value = RawResponse> {
    let corrupted = (body.clone(), vec(corruption(), 1..3)).prop_map(|(mut body, corruptions)| {
        corruptions.iter().for_each(|corruption| corruption.apply(&mut body));
        body
    });
    let body = prop_oneof![4 => body, 2 => corrupted, 1 => foreign_body()];
    (status, vec(header(), 0..3), framing(), body).prop_map(|(status, headers, framing, body)| RawResponse {
        status,
        headers,
        framing,
        body,
    })
}

/// The corrupted bytes of a response, or any bytes.
pub(super) fn corrupted_bytes(response: impl Strategy<Value = RawResponse>) -> impl Strategy<Value = Vec<u8>> {
    let corrupted = (response, vec(corruption(), 1..4)).prop_map(|(response, corruptions)| {
        let mut bytes = response.bytes();
        corruptions.iter().for_each(|corruption| corruption.apply(&mut bytes));
        bytes
    });
    prop_oneof![4 => corrupted, 1 => vec(any::<u8>(), 0..300)]
}
