//! Texts that others wrote: a message stays on one line, and what to do is not cut.

use super::*;

const DENIED: &str = "User: arn:aws:sts::111122223333:assumed-role/approval-operator/1723456789 is not authorized to perform: \
                      codepipeline:PutApprovalResult on resource: arn:aws:codepipeline:eu-west-1:111122223333:shop/Prod/Approve";

#[test]
fn a_long_detail_follows_what_to_do() {
    let remedy = "Allow it in the IAM policy of the operator's role; the operator retries automatically.";
    let detail = format!("AccessDeniedException: {DENIED}");
    let denied = |detail| {
        let (cause, submission) = (RetryCause::AccessDenied, submission(2, 0, 25));
        Outcome::Retrying { submission, cause, exception: None, detail, next: at(4), until: at(1000) }
    };
    let attempt = "Attempt 2 to submit Approved failed and was not applied";
    let next = "next attempt at 2026-07-01T12:00:04Z";
    assert_eq!(
        message(&fresh(), &denied(detail.clone())),
        format!("{attempt} (AccessDeniedException); {next}. {remedy} Details: {detail}")
    );
    let cut = Message::new(&fresh(), &denied(detail)).within(250);
    assert!(cut.starts_with(&format!("{attempt} (AccessDeniedException); {next}. {remedy} Details: Acc")), "{cut}");
    assert!(cut.len() <= 250 && cut.ends_with('…'), "{cut}");
    let nameless = denied("x".repeat(2000));
    let text = message(&fresh(), &nameless);
    assert!(text.starts_with(&format!("{attempt} (xxx")) && text.len() < 900, "{text}");
    assert!(text.contains(&format!("x…); {next}. {remedy} Details: xxx")), "{text}");
}

#[test]
fn a_long_detail_is_shown_up_to_its_explanation() {
    let start = "the DNS lookup for the connection to CodePipeline at codepipeline.eu-wst-1.amazonaws.com failed";
    let detail = format!("{start} (Name or service not known: it may not exist)");
    let text = message(&fresh().in_doubt(), &unconfirmed(UnconfirmedCause::ResponseLost(detail.clone())));
    assert!(text.contains(&format!("({start}).")) && text.ends_with(&format!("Details: {detail}")), "{text}");
}

#[test]
fn a_long_message_of_an_exception_follows_what_to_do() {
    let exception = Exception { message: DENIED.to_owned(), ..exception("Validation") };
    assert_eq!(
        message(&fresh(), &refused(Refusal::ValidationFailed, Some(exception), None)),
        format!("CodePipeline raised ValidationException. Correct the field that the message names. Details: {DENIED}")
    );
}

#[test]
fn a_token_is_hidden_before_a_detail_is_cut() {
    for length in [40, 80, 90, 490, 500] {
        let detail = format!("{}{}{}", "x".repeat(length), token().0, "y".repeat(600));
        let text = message(&fresh().in_doubt(), &unconfirmed(UnconfirmedCause::ResponseLost(detail)));
        assert!(!text.contains(&token().0[..8]), "{length}: {text}");
    }
}

#[test]
fn a_message_is_one_line_whatever_others_wrote() {
    let page = "HTTP status 503: <html>\r\n\t<body>\u{1b}[31mbusy</body>\n</html>\n\u{2028}".to_owned();
    let unreadable = unconfirmed(UnconfirmedCause::ResponseLost(page.clone()));
    let text = message(&fresh().in_doubt(), &unreadable);
    assert!(text.contains("(HTTP status 503: <html> <body> [31mbusy</body> </html>)"), "{text}");
    let long = unconfirmed(UnconfirmedCause::ResponseLost(page.repeat(50)));
    let text = message(&fresh().in_doubt(), &long);
    assert!(text.contains("(HTTP status 503)") && text.len() < 900, "{text}");
    assert!(!text.contains(|letter: char| letter.is_control() || letter == '\u{2028}'), "{text}");
}
