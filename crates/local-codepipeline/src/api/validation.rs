//! Validates inputs as CodePipeline does, with its error messages. CodePipeline reports all violations at once, so
//! `Validator` collects them: each check returns a valid member, and `finish` returns the input or the exception.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use crate::model::{Exception, ExceptionKind, is_name_character};

/// The violations found so far.
#[derive(Default)]
pub(super) struct Validator {
    violations: Vec<String>,
}

/// The requested page of a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageRequest<'a> {
    pub(crate) max_results: usize,
    pub(crate) next_token: Option<&'a str>,
}

impl Validator {
    fn violation(&mut self, member: &str, constraint: impl fmt::Display) {
        self.violations.push(format!("Value at '{member}' failed to satisfy constraint: Member must {constraint}"));
    }

    pub(super) fn required<T>(&mut self, member: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.violation(member, "not be null");
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
            self.violation(member, format_args!("have length less than or equal to {}", length.end()));
        }
        if count < *length.start() {
            self.violation(member, format_args!("have length greater than or equal to {}", length.start()));
        }
        Some(text)
    }

    pub(super) fn name<'a>(&mut self, member: &str, value: Option<&'a str>) -> Option<&'a str> {
        if value.is_some_and(|text| text.is_empty() || !text.chars().all(is_name_character)) {
            self.violation(member, r"satisfy regular expression pattern: [A-Za-z0-9.@\-_]+");
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
            self.violation(member, format_args!("satisfy regular expression pattern: {pattern}"));
        }
        text.parse().ok()
    }

    pub(super) fn one_of<T: Copy>(&mut self, member: &str, value: Option<&str>, values: &[(&str, T)]) -> Option<T> {
        let text = self.required(member, value)?;
        let found = values.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if found.is_none() {
            let names: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
            self.violation(member, format_args!("satisfy enum value set: [{}]", names.join(", ")));
        }
        found
    }

    pub(super) fn number(&mut self, member: &str, value: Option<i64>, range: RangeInclusive<i64>) {
        let Some(number) = value else { return };
        if number > *range.end() {
            self.violation(member, format_args!("have value less than or equal to {}", range.end()));
        }
        if number < *range.start() {
            self.violation(member, format_args!("have value greater than or equal to {}", range.start()));
        }
    }

    /// A page of at most `limit` items. `limit` is also the default.
    pub(super) fn page<'a>(
        &mut self,
        max_results: Option<i64>,
        next_token: Option<&'a str>,
        limit: u16,
    ) -> PageRequest<'a> {
        self.number("maxResults", max_results, 1..=limit.into());
        if next_token.is_some() {
            self.text("nextToken", next_token, 1..=2048);
        }
        let max_results = max_results.and_then(|requested| usize::try_from(requested).ok()).unwrap_or(limit.into());
        PageRequest { max_results, next_token }
    }

    /// Returns the valid input, or the exception that lists all violations.
    pub(super) fn finish<T>(self, valid: Option<T>) -> Result<T, Exception> {
        match valid {
            Some(valid) if self.violations.is_empty() => Ok(valid),
            _ => {
                let errors = if self.violations.len() == 1 { "error" } else { "errors" };
                let (count, violations) = (self.violations.len(), self.violations.join("; "));
                let message = format!("{count} validation {errors} detected: {violations}");
                Err(Exception::new(ExceptionKind::Validation, message))
            }
        }
    }
}
