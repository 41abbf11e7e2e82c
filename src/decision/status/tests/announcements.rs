//! Which changes of the status are announced, and which need someone's attention.

use super::*;

#[test]
fn a_reason_that_only_a_person_resolves_needs_attention() {
    let of = |outcome: &Outcome| announcement(&fresh(), outcome, None).map(|announcement| announcement.attention());
    for outcome in [
        invalid_token(),
        missing(Missing::Stage { stages: Vec::new() }),
        retrying(RetryCause::AccessDenied),
        unreadable(RetryCause::CredentialsUnavailable),
        retrying(RetryCause::ClockSkew),
        conflicting(None),
    ] {
        assert_eq!(of(&outcome), Some(Attention::Needed), "{outcome:?}");
    }
    for outcome in [delivered(), suspended(), retrying(RetryCause::Throttled), waiting(Wait::CurrentSpec)] {
        assert_eq!(of(&outcome), Some(Attention::NotNeeded), "{outcome:?}");
    }
}

#[test]
fn a_change_of_reason_is_announced_except_submitting() {
    for outcome in outcomes() {
        let reason = outcome.reason();
        let silent = reason == Reason::Submitting;
        assert!(announcement(&fresh(), &outcome, Some(reason)).is_none(), "{reason:?} is not a change");
        for previous in [None, Some(Reason::Submitting), Some(Reason::Unconfirmed), Some(Reason::Suspended)] {
            let announcement = announcement(&fresh(), &outcome, previous);
            assert_eq!(announcement.is_some(), !silent && previous != Some(reason), "{previous:?} to {reason:?}");
            let Some(announcement) = announcement else { continue };
            let class = outcome.ready_class();
            let is_normal = matches!(class, ReadyClass::Settled | ReadyClass::Suspended | ReadyClass::Waiting);
            assert_eq!(announcement.is_warning(), !is_normal, "{reason:?}");
            let text = message(&fresh(), &outcome);
            assert_eq!(announcement, Announcement { reason, class, message: text.clone(), note: text });
        }
    }
}
