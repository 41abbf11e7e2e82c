//! A local STS: it records its calls, and responds with the identity of a user, sessions of a role, or any given bytes.

use super::endpoint::Reply;
use super::raw_response::RawResponse;
use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::sync::Mutex;

/// The account of the operator, and of its role sessions unless a test changes it.
pub(super) const ACCOUNT: &str = "123456789012";

/// What the access keys of role sessions start with.
const SESSION_KEY: &str = "SESSION-";

/// A call to STS: its parameters, and the access key that signed it.
#[derive(Clone, Debug)]
pub(super) struct StsCall {
    pub(super) parameters: HashMap<String, String>,
    pub(super) access_key: String,
    /// The region of the signature.
    pub(super) region: String,
}

impl StsCall {
    pub(super) fn get(&self, name: &str) -> &str {
        self.parameters.get(name).map(String::as_str).unwrap_or_default()
    }
}

#[derive(Default)]
pub(super) struct StandIn {
    /// Replies in place of the right ones, by action.
    replies: Mutex<HashMap<&'static str, Reply>>,
    calls: Mutex<Vec<StsCall>>,
    /// The account of the sessions, and how long they last.
    sessions: Mutex<Option<(String, SignedDuration)>>,
}

impl StandIn {
    pub(super) fn set(&self, action: &'static str, reply: Option<Reply>) {
        let mut replies = self.replies.lock().unwrap();
        match reply {
            Some(reply) => drop(replies.insert(action, reply)),
            None => drop(replies.remove(action)),
        }
    }

    pub(super) fn set_sessions(&self, account: &str, duration: SignedDuration) {
        *self.sessions.lock().unwrap() = Some((account.to_owned(), duration));
    }

    /// The calls of an action.
    pub(super) fn calls(&self, action: &str) -> Vec<StsCall> {
        self.calls.lock().unwrap().iter().filter(|call| call.get("Action") == action).cloned().collect()
    }

    /// Records a call, and returns the response.
    pub(super) fn respond(&self, authorization: &str, body: &str) -> Reply {
        let parameters = body.split('&').filter_map(|pair| pair.split_once('='));
        let parameters: HashMap<_, _> = parameters.map(|(name, value)| (name.to_owned(), decode(value))).collect();
        let [access_key, region] = signer(authorization);
        let call = StsCall { parameters, access_key, region };
        let (number, action) = {
            let mut calls = self.calls.lock().unwrap();
            calls.push(call.clone());
            (calls.len(), call.get("Action").to_owned())
        };
        if let Some(reply) = self.replies.lock().unwrap().get(action.as_str()) {
            return reply.clone();
        }
        let sessions = self.sessions.lock().unwrap().clone();
        let (account, duration) = sessions.unwrap_or_else(|| (ACCOUNT.to_owned(), SignedDuration::from_hours(1)));
        let response = match action.as_str() {
            "AssumeRole" => session(&call, &account, duration, number),
            "GetCallerIdentity" if call.access_key.starts_with(SESSION_KEY) => caller(&account),
            // The access key `NAME@ACCOUNT` belongs to another account.
            _ => caller(call.access_key.split_once('@').map_or(ACCOUNT, |(_, account)| account)),
        };
        Reply::Bytes(response.with("Date", date(SignedDuration::ZERO)).bytes())
    }
}

/// The access key and the region of a signature in lower case.
pub(super) fn signer(authorization: &str) -> [String; 2] {
    let mut scope = authorization.split_once("credential=").unwrap().1.split('/');
    let (access_key, _, region) = (scope.next().unwrap(), scope.next(), scope.next().unwrap());
    [access_key.to_uppercase(), region.to_owned()]
}

/// A `Date` header that is ahead of the clock of this machine.
pub(super) fn date(ahead: SignedDuration) -> String {
    DateTimePrinter::new().timestamp_to_rfc9110_string(&(Timestamp::now() + ahead)).unwrap()
}

/// The response of STS to GetCallerIdentity of the operator's own credentials.
pub(super) fn identity() -> RawResponse {
    caller(ACCOUNT)
}

fn caller(account: &str) -> RawResponse {
    let result =
        format!("<UserId>ID</UserId><Account>{account}</Account><Arn>arn:aws:iam::{account}:user/OPERATOR</Arn>");
    let body = format!(
        "<GetCallerIdentityResponse><GetCallerIdentityResult>{result}</GetCallerIdentityResult></GetCallerIdentityResponse>"
    );
    RawResponse::plain(200, body.as_bytes())
}

/// The response of STS to AssumeRole.
fn session(call: &StsCall, account: &str, duration: SignedDuration, number: usize) -> RawResponse {
    let role = call.get("RoleArn").rsplit('/').next().unwrap();
    let arn = format!("arn:aws:sts::{account}:assumed-role/{role}/{}", call.get("RoleSessionName"));
    let expiration = Timestamp::now() + duration;
    let credentials = format!(
        "<AccessKeyId>{SESSION_KEY}{number}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>\
         <SessionToken>token-{number}</SessionToken><Expiration>{expiration:.0}</Expiration>"
    );
    let user = format!("<AssumedRoleId>ID:session</AssumedRoleId><Arn>{arn}</Arn>");
    let result = format!("<AssumedRoleUser>{user}</AssumedRoleUser><Credentials>{credentials}</Credentials>");
    let body = format!("<AssumeRoleResponse><AssumeRoleResult>{result}</AssumeRoleResult></AssumeRoleResponse>");
    RawResponse::plain(200, body.as_bytes())
}

/// An error of STS.
pub(super) fn error(status: u16, code: &str) -> Reply {
    let body = format!("<ErrorResponse><Error><Code>{code}</Code><Message>words</Message></Error></ErrorResponse>");
    Reply::Bytes(RawResponse::plain(status, body.as_bytes()).with("Date", date(SignedDuration::ZERO)).bytes())
}

/// A reply that never ends and says nothing.
pub(super) fn hanging() -> Reply {
    Reply::Endless(Vec::new(), b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), std::time::Duration::from_millis(20))
}

/// Decodes a value of a form.
fn decode(value: &str) -> String {
    let mut parts = value.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code, rest) = part.split_at(2);
        decoded.push(char::from(u8::from_str_radix(code, 16).unwrap()));
        decoded.push_str(rest);
    }
    decoded
}
