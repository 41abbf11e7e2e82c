//! AWS STS, which SDKs call at the same endpoint when `AWS_ENDPOINT_URL` names it. It has the query protocol: a form in
//! the body of `POST /`, and XML in the response. Only GetCallerIdentity is implemented, and injected faults do not
//! affect it.

use std::collections::BTreeSet;

use axum::http::{HeaderMap, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Limited};
use hyper::{Request, body::Incoming};
use uuid::Uuid;

use super::{
    aws_protocol::{MAX_BODY_BYTES, ResponseAction, response},
    shared_state::Shared,
    signature::{self, AwsService},
};
use crate::{faults::ErrorResponse, model::Account};

const XMLNS: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Whether a request to `POST /` is for STS rather than for CodePipeline.
pub(super) fn is_addressed(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    !headers.contains_key("x-amz-target") && content_type.starts_with("application/x-www-form-urlencoded")
}

pub(super) async fn handle(request: Request<Incoming>, shared: &Shared) -> ResponseAction {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY_BYTES).collect().await else {
        return ResponseAction::Close;
    };
    let result = {
        let state = shared.lock();
        respond(&head.headers, &body.to_bytes(), state.service.account(), &state.refused_access_keys)
    };
    let (status, body) = match result {
        Ok(body) => (200, body),
        Err(error) => (error.status, error_body(&error)),
    };
    response(status, "text/xml", body)
}

fn respond(
    headers: &HeaderMap,
    form: &[u8],
    account: &Account,
    refused_access_keys: &BTreeSet<String>,
) -> Result<String, ErrorResponse> {
    let form = String::from_utf8_lossy(form);
    let has = |field: &str| form.split('&').any(|found| found == field);
    if !has("Action=GetCallerIdentity") || !has("Version=2011-06-15") {
        return Err(ErrorResponse::new(400, "InvalidAction", "This endpoint implements only GetCallerIdentity."));
    }
    let access_key = signature::access_key(headers, AwsService::Sts).map_err(in_query_protocol)?;
    if refused_access_keys.contains(&access_key) {
        return Err(in_query_protocol(signature::unknown_access_key()));
    }
    let arn = account.user(&access_key);
    Ok(format!(
        "<GetCallerIdentityResponse xmlns=\"{XMLNS}\"><GetCallerIdentityResult><Arn>{}</Arn><UserId>{}</UserId>\
         <Account>{}</Account></GetCallerIdentityResult><ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata>\
         </GetCallerIdentityResponse>",
        escape(&arn),
        escape(&access_key),
        escape(&account.id),
        Uuid::new_v4(),
    ))
}

/// Errors of the query protocol have status 403 and no `Exception` in their names.
fn in_query_protocol(error: ErrorResponse) -> ErrorResponse {
    let kind = error.kind.strip_suffix("Exception").unwrap_or(&error.kind);
    let kind = match kind {
        "InvalidSignature" => "SignatureDoesNotMatch",
        "UnrecognizedClient" => "InvalidClientTokenId",
        other => other,
    };
    ErrorResponse::new(403, kind, error.message)
}

fn error_body(error: &ErrorResponse) -> String {
    let (kind, message) = (escape(&error.kind), escape(&error.message));
    format!(
        "<ErrorResponse xmlns=\"{XMLNS}\"><Error><Type>Sender</Type><Code>{kind}</Code><Message>{message}</Message>\
         </Error><RequestId>{}</RequestId></ErrorResponse>",
        Uuid::new_v4(),
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(service: &str, form: &str) -> Result<String, String> {
        identity_of("A<B", service, form)
    }

    fn identity_of(access_key: &str, service: &str, form: &str) -> Result<String, String> {
        let credential = format!("{access_key}/20260101/us-east-1/{service}/aws4_request");
        let signed = format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=0");
        let headers = HeaderMap::from_iter([(axum::http::header::AUTHORIZATION, signed.parse().unwrap())]);
        let refused = BTreeSet::from(["DELETED".to_owned()]);
        respond(&headers, form.as_bytes(), &Account::default(), &refused).map_err(|error| error.kind)
    }

    #[test]
    fn the_identity_is_that_of_the_access_key_in_the_account() {
        let form = "Action=GetCallerIdentity&Version=2011-06-15";
        let body = identity("sts", form).unwrap();
        assert!(body.contains("<Account>123456789012</Account>"), "{body}");
        assert!(body.contains("<Arn>arn:aws:iam::123456789012:user/A&lt;B</Arn>"), "{body}");
        assert_eq!(identity("codepipeline", form), Err("SignatureDoesNotMatch".to_owned()));
        assert_eq!(identity("sts", "Action=AssumeRole&Version=2011-06-15"), Err("InvalidAction".to_owned()));
        assert_eq!(identity_of("DELETED", "sts", form), Err("InvalidClientTokenId".to_owned()));
    }
}
