//! Tests of IAM's and STS' rules, one for each rule.

use super::*;

const OPERATOR: &str = "arn:aws:iam::123456789012:user/OPERATOR";
const ROLE: &str = "arn:aws:iam::210987654321:role/approvals";
const SESSION: &str = "arn:aws:sts::210987654321:assumed-role/approvals/web";

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn iam_with(role: Role) -> Iam {
    let mut iam = Iam::new(Account::default(), Uuid::nil());
    iam.put_role(role);
    iam
}

fn role() -> Role {
    Role::new(ROLE).unwrap()
}

fn user(name: &str) -> Caller {
    Caller::user(name, &Account::default())
}

fn input() -> AssumeRoleInput {
    AssumeRoleInput {
        role_arn: Some(ROLE.to_owned()),
        role_session_name: Some("web".to_owned()),
        ..AssumeRoleInput::default()
    }
}

fn assume(iam: &mut Iam, at: i64, input: &AssumeRoleInput) -> Result<SessionCredentials, String> {
    iam.assume_role(&user("OPERATOR"), input, second(at))
        .map_err(|error| format!("{} {}: {}", error.kind.status(), error.kind.name(), error.message))
}

fn credential(session: &SessionCredentials) -> Credential {
    Credential {
        access_key: session.access_key_id.clone(),
        region: "us-east-1".to_owned(),
        session_token: Some(session.session_token.clone()),
    }
}

fn arn_of(iam: &Iam, at: i64, session: &SessionCredentials) -> Result<String, CredentialError> {
    iam.authenticate(&credential(session), second(at)).map(|caller| caller.arn().to_owned())
}

#[test]
fn a_user_is_in_the_default_account_unless_the_access_key_names_another() {
    let iam = iam_with(role());
    let table = [
        ("bob", "123456789012", "arn:aws:iam::123456789012:user/bob"),
        ("bob@210987654321", "210987654321", "arn:aws:iam::210987654321:user/bob"),
        ("bob@example.com", "123456789012", "arn:aws:iam::123456789012:user/bob@example.com"),
        ("bob@example.com@210987654321", "210987654321", "arn:aws:iam::210987654321:user/bob@example.com"),
    ];
    for (access_key, account, arn) in table {
        // A token that is not that of a session is ignored: IRSA and Pod Identity have their own.
        let credential = Credential {
            access_key: access_key.to_owned(),
            region: "us-east-1".to_owned(),
            session_token: Some("pod".to_owned()),
        };
        let caller = iam.authenticate(&credential, second(0)).unwrap();
        assert_eq!((caller.account_id(), caller.arn(), caller.role()), (account, arn, None));
    }
}

#[test]
fn a_session_is_a_caller_in_the_account_of_its_role() {
    let mut iam = iam_with(role());
    let session = assume(&mut iam, 0, &input()).unwrap();
    assert!(session.access_key_id.starts_with("ASIA") && session.access_key_id.len() == 20, "{session:?}");
    assert_eq!((session.secret_access_key.len(), session.expiration), (40, second(3600)));
    assert_eq!(session.assumed_role_arn, SESSION);
    let caller = iam.authenticate(&credential(&session), second(0)).unwrap();
    assert_eq!((caller.account_id(), caller.arn()), ("210987654321", SESSION));
    assert_eq!((caller.user_id(), caller.session_name()), (session.assumed_role_id.as_str(), Some("web")));
    assert_eq!(caller.role(), Some(role().arn()));
}

#[test]
fn the_arn_of_a_session_has_the_partition_of_the_role_and_no_path() {
    let arn = "arn:aws-us-gov:iam::210987654321:role/teams/a/approvals";
    let mut iam = iam_with(Role::new(arn).unwrap());
    let session = assume(&mut iam, 0, &AssumeRoleInput { role_arn: Some(arn.to_owned()), ..input() }).unwrap();
    assert_eq!(session.assumed_role_arn, "arn:aws-us-gov:sts::210987654321:assumed-role/approvals/web");
    let pathless = "arn:aws-us-gov:iam::210987654321:role/approvals".to_owned();
    assume(&mut iam, 0, &AssumeRoleInput { role_arn: Some(pathless), ..input() }).unwrap_err();
}

#[test]
fn a_role_is_assumed_only_by_those_whom_it_trusts() {
    let other_role = "arn:aws:iam::123456789012:role/eks";
    let mut roles = iam_with(Role::new(other_role).unwrap());
    let chained = AssumeRoleInput { role_arn: Some(other_role.to_owned()), ..input() };
    let chained = assume(&mut roles, 0, &chained).unwrap();
    let session = roles.authenticate(&credential(&chained), second(0)).unwrap();
    let table = [
        (vec!["123456789012"], [true, true]),
        (vec!["arn:aws:iam::123456789012:root"], [true, true]),
        (vec![OPERATOR], [true, false]),
        (vec![other_role], [false, true]),
        (vec!["arn:aws:sts::123456789012:assumed-role/eks/web", "210987654321"], [false, true]),
        (vec!["arn:aws:sts::123456789012:assumed-role/eks/api"], [false, false]),
        (vec!["210987654321"], [false, false]),
        (vec![], [false, false]),
    ];
    for (trusted, expected) in table {
        let mut iam = iam_with(role().trusts(trusted.iter().copied()).unwrap());
        for (caller, expected) in [&user("OPERATOR"), &session].into_iter().zip(expected) {
            let result = iam.assume_role(caller, &input(), second(0));
            assert_eq!(result.is_ok(), expected, "{trusted:?} {caller:?}");
        }
    }
}

#[test]
fn a_required_external_id_must_be_named_and_another_one_is_ignored() {
    let named = |id: &str| AssumeRoleInput { external_id: Some(id.to_owned()), ..input() };
    let mut iam = iam_with(role().external_id("checkout"));
    assume(&mut iam, 0, &named("checkout")).unwrap();
    assume(&mut iam, 0, &named("Checkout")).unwrap_err();
    assume(&mut iam, 0, &input()).unwrap_err();
    iam.put_role(role());
    assume(&mut iam, 0, &named("checkout")).unwrap();
}

#[test]
fn every_refusal_has_the_text_of_aws_and_says_nothing_about_the_role() {
    let expected =
        format!("403 AccessDenied: User: {OPERATOR} is not authorized to perform: sts:AssumeRole on resource: {ROLE}");
    let mut iam = iam_with(role().trusts([]).unwrap());
    assert_eq!(assume(&mut iam, 0, &input()), Err(expected.clone()));
    iam.put_role(role().external_id("checkout"));
    assert_eq!(assume(&mut iam, 0, &input()), Err(expected.clone()));
    iam.delete_role(role().arn());
    assert_eq!(assume(&mut iam, 0, &input()), Err(expected));
}

#[test]
fn an_invalid_member_is_refused_before_the_trust_policy() {
    let mut iam = iam_with(role().trusts([]).unwrap());
    let with_name = |name: &str| AssumeRoleInput { role_session_name: Some(name.to_owned()), ..input() };
    let with_duration = |text: &str| AssumeRoleInput { duration_seconds: Some(text.to_owned()), ..input() };
    let long = "s".repeat(65);
    let table = [
        (with_name("a b"), "Value 'a b' at 'roleSessionName'", "satisfy regular expression pattern: [\\w+=,.@-]*"),
        (with_name("team/web"), "Value 'team/web' at", "satisfy regular expression pattern: [\\w+=,.@-]*"),
        (with_name("w"), "Value 'w' at 'roleSessionName'", "have length greater than or equal to 2"),
        (with_name(&long), &format!("Value '{long}' at"), "have length less than or equal to 64"),
        (AssumeRoleInput { role_session_name: None, ..input() }, "Value null at 'roleSessionName'", "not be null"),
        (AssumeRoleInput { role_arn: Some("approvals".to_owned()), ..input() }, "at 'roleArn'", "equal to 20"),
        (with_duration("899"), "Value '899' at 'durationSeconds'", "have value greater than or equal to 900"),
        (with_duration("43201"), "Value '43201' at 'durationSeconds'", "have value less than or equal to 43200"),
        (with_duration("soon"), "Value 'soon' at 'durationSeconds'", "be an integer"),
        (AssumeRoleInput { external_id: Some("x".to_owned()), ..input() }, "at 'externalId'", "equal to 2"),
        (AssumeRoleInput { external_id: Some("a b".to_owned()), ..input() }, "at 'externalId'", "pattern"),
    ];
    for (input, value, constraint) in table {
        let error = assume(&mut iam, 0, &input).unwrap_err();
        let start = "400 ValidationError: 1 validation error detected: ";
        assert!(error.starts_with(start) && error.contains(value) && error.contains(constraint), "{error}");
    }
    let longest = with_name(&"s".repeat(64));
    assert!(assume(&mut iam, 0, &longest).unwrap_err().starts_with("403"));
}

#[test]
fn a_session_lasts_as_long_as_requested_within_the_limit_of_the_role() {
    let mut iam = iam_with(role());
    let lasting = |seconds: &str| AssumeRoleInput { duration_seconds: Some(seconds.to_owned()), ..input() };
    assert_eq!(assume(&mut iam, 0, &lasting("900")).unwrap().expiration, second(900));
    let error = assume(&mut iam, 0, &lasting("3601")).unwrap_err();
    let expected =
        "400 ValidationError: The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
    assert_eq!(error, expected);

    let other = serde_json::json!({ "arn": ROLE, "maxSessionDuration": "2h" });
    iam.put_role(serde_json::from_value(other).unwrap());
    let session = assume(&mut iam, 0, &lasting("3601")).unwrap();
    let caller = iam.authenticate(&credential(&session), second(0)).unwrap();
    let error = iam.assume_role(&caller, &lasting("3601"), second(0)).unwrap_err();
    assert!(error.message.contains("1 hour session limit for roles assumed by role chaining"), "{error:?}");
    iam.assume_role(&caller, &lasting("3600"), second(0)).unwrap();
}

#[test]
fn a_session_expires_at_the_time_that_assume_role_returned() {
    let mut iam = iam_with(role().session_duration(SignedDuration::from_secs(30)));
    let session = assume(&mut iam, 0, &input()).unwrap();
    assert_eq!(session.expiration, second(30));
    assert_eq!(arn_of(&iam, 29, &session).as_deref(), Ok(SESSION));
    assert_eq!(arn_of(&iam, 30, &session), Err(CredentialError::Expired));
}

#[test]
fn the_access_key_of_a_session_needs_its_own_token() {
    let mut iam = iam_with(role());
    let (session, other) = (assume(&mut iam, 0, &input()).unwrap(), assume(&mut iam, 0, &input()).unwrap());
    assert_ne!(session.access_key_id, other.access_key_id);
    for session_token in [None, Some(other.session_token.clone()), Some(String::new())] {
        let credential = Credential { session_token, ..credential(&session) };
        assert_eq!(iam.authenticate(&credential, second(0)), Err(CredentialError::Unknown));
    }
    let unknown = Credential { access_key: "ASIAAAAAAAAAAAAAAAAA".to_owned(), ..credential(&session) };
    assert_eq!(iam.authenticate(&unknown, second(0)), Err(CredentialError::Unknown));
}

#[test]
fn revoked_sessions_are_refused_and_new_ones_are_not() {
    let mut iam = iam_with(role());
    let others = Role::new("arn:aws:iam::210987654321:role/readers").unwrap();
    iam.put_role(others.clone());
    let of_others = AssumeRoleInput { role_arn: Some(others.arn().to_string()), ..input() };
    let other = assume(&mut iam, 0, &of_others).unwrap();
    let table = [
        (Revocation::Expired, Err(CredentialError::Expired)),
        (Revocation::Unknown, Err(CredentialError::Unknown)),
        (Revocation::Denied, Ok(SESSION.to_owned())),
    ];
    for (revocation, expected) in table {
        let session = assume(&mut iam, 0, &input()).unwrap();
        iam.revoke_sessions(role().arn(), revocation);
        assert_eq!(arn_of(&iam, 1, &session), expected, "{revocation:?}");
        let new = assume(&mut iam, 1, &input()).unwrap();
        assert!(!iam.authenticate(&credential(&new), second(1)).unwrap().is_denied());
    }
    let session = assume(&mut iam, 0, &input()).unwrap();
    iam.delete_role(role().arn());
    assert_eq!(arn_of(&iam, 1, &session), Err(CredentialError::Unknown));
    arn_of(&iam, 1, &other).unwrap();
}

#[test]
fn a_denied_session_cannot_assume_a_role() {
    let mut iam = iam_with(role());
    let session = assume(&mut iam, 0, &input()).unwrap();
    iam.revoke_sessions(role().arn(), Revocation::Denied);
    let caller = iam.authenticate(&credential(&session), second(1)).unwrap();
    let error = iam.assume_role(&caller, &input(), second(1)).unwrap_err();
    assert!(error.message.ends_with("with an explicit deny in an identity-based policy"), "{error:?}");
}

#[test]
fn a_changed_trust_policy_applies_to_the_next_session() {
    let mut iam = iam_with(role());
    let session = assume(&mut iam, 0, &input()).unwrap();
    iam.put_role(role().trusts([]).unwrap());
    assert_eq!(arn_of(&iam, 1, &session).as_deref(), Ok(SESSION));
    assume(&mut iam, 1, &input()).unwrap_err();
}

#[test]
fn an_invalid_role_or_principal_is_refused_with_the_fix() {
    for text in [
        "approvals",
        "arn:aws:iam::21098765432:role/a",
        "arn:aws:iam::210987654321:user/a",
        "arn:aws:iam::210987654321:role/",
    ] {
        let error = Role::new(text).unwrap_err().to_string();
        assert!(error.contains("write arn:aws:iam::ACCOUNT:role/NAME"), "{error}");
    }
    for text in ["", "*", "bob", "1234", "arn:aws:iam::1234:root", "arn:aws:iam::123456789012:bob"] {
        let error = text.parse::<Principal>().unwrap_err().to_string();
        assert!(error.contains("write an account id of twelve digits, or the ARN"), "{error}");
    }
}
