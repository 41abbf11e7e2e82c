//! The responses of STS as XML, and the names that errors of AWS have in the query protocol.

use uuid::Uuid;

use crate::{
    faults::ErrorResponse,
    iam::{Caller, SessionCredentials},
};

pub(super) const CONTENT_TYPE: &str = "text/xml";
const XMLNS: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

pub(super) fn get_caller_identity(caller: &Caller) -> String {
    let (arn, user_id, account) = (escape(caller.arn()), escape(caller.user_id()), escape(caller.account_id()));
    success("GetCallerIdentity", &format!("<Arn>{arn}</Arn><UserId>{user_id}</UserId><Account>{account}</Account>"))
}

pub(super) fn assume_role(session: &SessionCredentials) -> String {
    let SessionCredentials {
        access_key_id,
        secret_access_key,
        session_token,
        expiration,
        assumed_role_arn,
        assumed_role_id,
    } = session;
    let (arn, id) = (escape(assumed_role_arn), escape(assumed_role_id));
    let expiration = expiration.strftime("%Y-%m-%dT%H:%M:%SZ");
    let result = format!(
        "<AssumedRoleUser><Arn>{arn}</Arn><AssumedRoleId>{id}</AssumedRoleId></AssumedRoleUser>\
         <Credentials><AccessKeyId>{access_key_id}</AccessKeyId><SecretAccessKey>{secret_access_key}</SecretAccessKey>\
         <SessionToken>{session_token}</SessionToken><Expiration>{expiration}</Expiration></Credentials>"
    );
    success("AssumeRole", &result)
}

fn success(operation: &str, result: &str) -> String {
    let request_id = Uuid::new_v4();
    format!(
        "<{operation}Response xmlns=\"{XMLNS}\"><{operation}Result>{result}</{operation}Result>\
         <ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{operation}Response>"
    )
}

pub(super) fn error(error: &ErrorResponse) -> String {
    let (code, message) = (escape(code(error)), escape(&error.message));
    let party = if status(error) < 500 { "Sender" } else { "Receiver" };
    format!(
        "<ErrorResponse xmlns=\"{XMLNS}\"><Error><Type>{party}</Type><Code>{code}</Code><Message>{message}</Message>\
         </Error><RequestId>{}</RequestId></ErrorResponse>",
        Uuid::new_v4(),
    )
}

/// The name of an error in the query protocol, which has no `Exception` in its names.
pub(super) fn code(error: &ErrorResponse) -> &str {
    match error.kind.strip_suffix("Exception").unwrap_or(&error.kind) {
        "InvalidSignature" => "SignatureDoesNotMatch",
        "UnrecognizedClient" => "InvalidClientTokenId",
        other => other,
    }
}

/// The status of an error in the query protocol: 403 where credentials or permissions are refused.
pub(super) fn status(error: &ErrorResponse) -> u16 {
    match code(error) {
        "AccessDenied"
        | "ExpiredToken"
        | "IncompleteSignature"
        | "InvalidClientTokenId"
        | "MissingAuthenticationToken"
        | "SignatureDoesNotMatch" => 403,
        _ => error.status,
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
