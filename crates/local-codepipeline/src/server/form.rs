//! A form in a request body: `application/x-www-form-urlencoded`.

/// The members of a form, decoded. Where a name repeats, the first one counts.
#[derive(Debug)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    pub(super) fn parse(body: &[u8]) -> Self {
        let pairs = body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
        let decode_pair = |pair: &[u8]| {
            let mut parts = pair.splitn(2, |byte| *byte == b'=');
            (decode(parts.next().unwrap_or_default()), decode(parts.next().unwrap_or_default()))
        };
        Self(pairs.map(decode_pair).collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// Decodes `+` and `%XX`. What is not an escape stays as it is, and bytes that are not UTF-8 are replaced.
fn decode(text: &[u8]) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let escaped = match (first, after) {
            (b'%', [high, low, after @ ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| (high * 16 + low, after)),
            _ => None,
        };
        let plain = if *first == b'+' { b' ' } else { *first };
        let (byte, remaining) = escaped.unwrap_or((plain, after));
        decoded.push(byte);
        rest = remaining;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_decoded_and_the_first_of_a_name_counts() {
        let form =
            Form::parse(b"&RoleArn=arn%3Aaws%3aiam&A=1+2%2b3&A=4&broken=%4&end=%&percent=%zz&empty=&%FF=x&alone");
        let table = [
            ("RoleArn", Some("arn:aws:iam")),
            ("A", Some("1 2+3")),
            ("broken", Some("%4")),
            ("end", Some("%")),
            ("percent", Some("%zz")),
            ("empty", Some("")),
            ("\u{fffd}", Some("x")),
            ("alone", Some("")),
            ("other", None),
        ];
        for (name, expected) in table {
            assert_eq!(form.get(name), expected, "{name}");
        }
    }
}
