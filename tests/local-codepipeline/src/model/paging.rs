//! Pages of a list. A next token stands for the last item of its page and for the question that was asked, so what is
//! added at the front meanwhile shifts nothing, and a token of one list is refused by another.

use uuid::Uuid;

use super::{Exception, ExceptionKind};
use crate::api::PageRequest;

pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    pub(super) next_token: Option<String>,
}

/// Cuts a page out of `items`. `key` tells one item from another, `question` one list from another.
pub(super) fn page<T>(
    mut items: Vec<T>,
    question: &str,
    key: impl Fn(&T) -> String,
    wanted: PageRequest<'_>,
) -> Result<Page<T>, Exception> {
    let token_of = |item: &T| {
        let text = format!("{question}\n{}", key(item));
        Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes()).simple().to_string()
    };
    if let Some(token) = wanted.next_token {
        let Some(last) = items.iter().position(|item| token_of(item) == token) else {
            return Err(Exception::new(ExceptionKind::InvalidNextToken, "The next token is not valid."));
        };
        items.drain(..=last);
    }
    let more = items.len() > wanted.max_results;
    items.truncate(wanted.max_results);
    let next_token = items.last().filter(|_| more).map(token_of);
    Ok(Page { items, next_token })
}
