//! Errors with their causes, in one line.

use std::error::Error;

/// The error followed by its causes. A cause whose text is already there is left out.
#[must_use]
pub fn display_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}
