//! Errors and their causes, as texts for people.

use kube::core::Status;
use std::error::Error;

/// The error followed by its causes, on one line. A cause whose text is already there is left out.
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
    // kube's own text of a refusal repeats it in Rust's debug format.
    if let Some(status) = refusal(error) {
        let verbose = kube::Error::Api(Box::new(status.clone())).to_string();
        let message = if status.message.is_empty() { &status.reason } else { &status.message };
        text = text.replace(&verbose, message);
    }
    one_line(&text)
}

/// The text on one line: a tool that shows a table cuts a text at its first line break.
#[must_use]
pub fn one_line(text: &str) -> String {
    let words = text.split(|letter: char| letter.is_whitespace() || letter.is_control());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The first error of this type among an error and its causes.
#[must_use]
pub fn caused_by<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The HTTP status with which the API server refused a request, if it did.
#[must_use]
pub fn api_status(error: &(dyn Error + 'static)) -> Option<u16> {
    refusal(error).map(|status| status.code)
}

/// The API server's response to a request that it refused.
fn refusal<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Status> {
    let mut next = Some(error);
    while let Some(error) = next {
        let found =
            error.downcast_ref::<kube::Error>().or_else(|| error.downcast_ref::<Box<kube::Error>>().map(|b| &**b));
        if let Some(kube::Error::Api(status)) = found {
            return Some(status);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::runtime::watcher;

    fn forbidden() -> kube::Error {
        let message = "events.events.k8s.io is forbidden:\n User \"operator\" cannot create resource \"events\"";
        kube::Error::Api(Status { code: 403, ..Status::failure(message, "Forbidden") }.boxed())
    }

    #[test]
    fn a_refusal_of_the_api_server_has_its_message_alone_on_one_line() {
        let message = "events.events.k8s.io is forbidden: User \"operator\" cannot create resource \"events\"";
        assert_eq!(display_chain(&forbidden()), message);
        let watch = watcher::Error::InitialListFailed(forbidden());
        assert_eq!(display_chain(&watch), format!("failed to perform initial object list: {message}"));
        let reconcile = crate::controller::Error::Kubernetes(Box::new(forbidden()));
        assert_eq!(display_chain(&reconcile), format!("the Kubernetes API: {message}"));
        assert_eq!(api_status(&reconcile), Some(403));
        let nameless = kube::Error::Api(Status::failure("", "Forbidden").boxed());
        assert_eq!(display_chain(&nameless), "Forbidden");
    }
}
