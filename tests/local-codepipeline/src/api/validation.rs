//! The service's own checks of a request, in its own words. It reports everything that is wrong at once, so the checks
//! gather: each gives the member back if it is good, and `done` puts together what they gave or says what they found.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use crate::model::{Exception, ExceptionKind, is_name_character};

/// What has been found wrong so far.
#[derive(Default)]
pub(super) struct Checks {
    found: Vec<String>,
}

/// Which page of a list is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageRequest<'a> {
    pub(crate) max_results: usize,
    pub(crate) next_token: Option<&'a str>,
}

impl Checks {
    fn fails(&mut self, member: &str, constraint: impl fmt::Display) {
        self.found.push(format!("Value at '{member}' failed to satisfy constraint: Member must {constraint}"));
    }

    pub(super) fn required<T>(&mut self, member: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.fails(member, "not be null");
        }
        value
    }

    pub(super) fn text<'a>(
        &mut self,
        member: &str,
        value: Option<&'a str>,
        length: RangeInclusive<usize>,
    ) -> Option<&'a str> {
        let text = self.required(member, value)?;
        let count = text.chars().count();
        if count > *length.end() {
            self.fails(member, format_args!("have length less than or equal to {}", length.end()));
        }
        if count < *length.start() {
            self.fails(member, format_args!("have length greater than or equal to {}", length.start()));
        }
        Some(text)
    }

    pub(super) fn name<'a>(&mut self, member: &str, value: Option<&'a str>) -> Option<&'a str> {
        if value.is_some_and(|text| text.is_empty() || !text.chars().all(is_name_character)) {
            self.fails(member, r"satisfy regular expression pattern: [A-Za-z0-9.@\-_]+");
        }
        self.text(member, value, 1..=100)
    }

    pub(super) fn uuid<T: FromStr>(&mut self, member: &str, value: Option<&str>) -> Option<T> {
        let text = self.required(member, value)?;
        let is_uuid = text.len() == 36
            && text.bytes().enumerate().all(|(index, byte)| match index {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            });
        if !is_uuid {
            let pattern = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
            self.fails(member, format_args!("satisfy regular expression pattern: {pattern}"));
        }
        text.parse().ok()
    }

    pub(super) fn one_of<T: Copy>(&mut self, member: &str, value: Option<&str>, words: &[(&str, T)]) -> Option<T> {
        let text = self.required(member, value)?;
        let meant = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
        if meant.is_none() {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.fails(member, format_args!("satisfy enum value set: [{}]", words.join(", ")));
        }
        meant
    }

    pub(super) fn number(&mut self, member: &str, value: Option<i64>, range: RangeInclusive<i64>) {
        let Some(number) = value else { return };
        if number > *range.end() {
            self.fails(member, format_args!("have value less than or equal to {}", range.end()));
        }
        if number < *range.start() {
            self.fails(member, format_args!("have value greater than or equal to {}", range.start()));
        }
    }

    /// A page of at most `largest` items, which is also how many come if the caller does not say.
    pub(super) fn page<'a>(
        &mut self,
        max_results: Option<i64>,
        next_token: Option<&'a str>,
        largest: u16,
    ) -> PageRequest<'a> {
        self.number("maxResults", max_results, 1..=largest.into());
        if next_token.is_some() {
            self.text("nextToken", next_token, 1..=2048);
        }
        let max_results = max_results.and_then(|wanted| usize::try_from(wanted).ok()).unwrap_or(largest.into());
        PageRequest { max_results, next_token }
    }

    /// What the checks gave, unless they found something.
    pub(super) fn done<T>(self, good: Option<T>) -> Result<T, Exception> {
        match good {
            Some(good) if self.found.is_empty() => Ok(good),
            _ => {
                let errors = if self.found.len() == 1 { "error" } else { "errors" };
                let message = format!("{} validation {errors} detected: {}", self.found.len(), self.found.join("; "));
                Err(Exception::new(ExceptionKind::Validation, message))
            }
        }
    }
}
