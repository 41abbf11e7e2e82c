//! Pagination. A next token identifies the last item of its page and the query, so that new items at the front do not
//! shift the pages, and a token of one query is invalid for another.

use uuid::Uuid;

use super::{Exception, ExceptionKind};
use crate::api::PageRequest;

pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    pub(super) next_token: Option<String>,
}

/// Returns one page of `items`. `key` identifies an item, `query` the list.
pub(super) fn page<T>(
    mut items: Vec<T>,
    query: &str,
    key: impl Fn(&T) -> String,
    request: PageRequest<'_>,
) -> Result<Page<T>, Exception> {
    let token_of = |item: &T| {
        let text = format!("{query}\n{}", key(item));
        Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes()).simple().to_string()
    };
    if let Some(token) = request.next_token {
        let Some(last) = items.iter().position(|item| token_of(item) == token) else {
            return Err(Exception::new(ExceptionKind::InvalidNextToken, "The next token is not valid."));
        };
        items.drain(..=last);
    }
    let more = items.len() > request.max_results;
    items.truncate(request.max_results);
    let next_token = items.last().filter(|_| more).map(token_of);
    Ok(Page { items, next_token })
}
