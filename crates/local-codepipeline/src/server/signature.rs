//! Identifies the caller. It checks the format of the Authorization header as AWS does, to detect a client that does
//! not sign or signs for another service. It does not verify the signature, because the endpoint does not know the secret
//! keys of users. A session must send its session token, which the endpoint knows.

use axum::http::{HeaderMap, header::AUTHORIZATION};

use crate::{
    faults::ErrorResponse,
    iam::{Credential, CredentialError},
};

/// The AWS service that a request is signed for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum AwsService {
    CodePipeline,
    Sts,
}

impl AwsService {
    fn name(self) -> &'static str {
        match self {
            Self::CodePipeline => "codepipeline",
            Self::Sts => "sts",
        }
    }
}

/// The credential that signed the request, for this service.
pub(super) fn credential(headers: &HeaderMap, expected: AwsService) -> Result<Credential, ErrorResponse> {
    let expected = expected.name();
    let Some(header) = headers.get(AUTHORIZATION) else {
        return Err(ErrorResponse::new(400, "MissingAuthenticationTokenException", "Missing Authentication Token"));
    };
    let incomplete = |what: &str| Err(ErrorResponse::new(400, "IncompleteSignatureException", what));
    let Some(fields) = header.to_str().ok().and_then(|header| header.strip_prefix("AWS4-HMAC-SHA256 ")) else {
        return incomplete("Authorization header requires the algorithm 'AWS4-HMAC-SHA256'.");
    };
    let field = |name: &str| {
        let mut fields = fields.split(',').filter_map(|field| field.trim().split_once('='));
        fields.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let (Some(credential), Some(_), Some(_)) = (field("Credential"), field("SignedHeaders"), field("Signature")) else {
        return incomplete("Authorization header requires 'Credential', 'SignedHeaders' and 'Signature' parameters.");
    };
    let [key, _date, region, service, "aws4_request"] = *credential.split('/').collect::<Vec<_>>() else {
        return incomplete(&format!("Credential must have the form KEY/DATE/REGION/{expected}/aws4_request."));
    };
    if service != expected {
        let message = format!("Credential should be scoped to correct service: '{expected}'.");
        return Err(ErrorResponse::new(400, "InvalidSignatureException", message));
    }
    let session_token = headers.get(SECURITY_TOKEN).and_then(|token| token.to_str().ok()).map(str::to_owned);
    Ok(Credential { access_key: key.to_owned(), region: region.to_owned(), session_token })
}

/// The header with the token of a session.
const SECURITY_TOKEN: &str = "x-amz-security-token";

/// The response to a credential that has no caller.
pub(super) fn refused_credential(error: CredentialError) -> ErrorResponse {
    let (kind, message) = match error {
        CredentialError::Unknown => {
            ("UnrecognizedClientException", "The security token included in the request is invalid.")
        }
        CredentialError::Expired => ("ExpiredTokenException", "The security token included in the request is expired"),
    };
    ErrorResponse::new(400, kind, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(header: Option<&str>, service: AwsService) -> Result<String, String> {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert(AUTHORIZATION, header.parse().unwrap());
        }
        credential(&headers, service).map(|credential| credential.access_key).map_err(|error| error.kind)
    }

    #[test]
    fn the_access_key_identifies_the_caller_who_must_sign_for_the_service() {
        let signed =
            |credential: &str| format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=0");
        let good = signed("AKID/20260101/us-east-1/codepipeline/aws4_request");
        let table = [
            (Some(good.as_str()), Ok("AKID")),
            (None, Err("MissingAuthenticationTokenException")),
            (Some("Basic YTpi"), Err("IncompleteSignatureException")),
            (Some("AWS4-HMAC-SHA256 Credential=AKID"), Err("IncompleteSignatureException")),
            (Some(&signed("AKID/us-east-1/codepipeline")), Err("IncompleteSignatureException")),
            (Some(&signed("AKID/20260101/us-east-1/s3/aws4_request")), Err("InvalidSignatureException")),
        ];
        for (header, expected) in table {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(kind_of(header, AwsService::CodePipeline), expected, "{header:?}");
        }
        assert_eq!(kind_of(Some(&good), AwsService::Sts), Err("InvalidSignatureException".to_owned()));
        let for_sts = signed("AKID/20260101/us-east-1/sts/aws4_request");
        assert_eq!(kind_of(Some(&for_sts), AwsService::Sts), Ok("AKID".to_owned()));
    }

    #[test]
    fn the_region_and_the_session_token_are_part_of_the_credential() {
        let signed = "AWS4-HMAC-SHA256 Credential=K/20260101/eu-west-1/sts/aws4_request, SignedHeaders=h, Signature=0";
        let mut headers = HeaderMap::from_iter([(AUTHORIZATION, signed.parse().unwrap())]);
        let expected = Credential { access_key: "K".to_owned(), region: "eu-west-1".to_owned(), session_token: None };
        assert_eq!(credential(&headers, AwsService::Sts).unwrap(), expected);
        headers.insert(SECURITY_TOKEN, "token".parse().unwrap());
        let expected = Credential { session_token: Some("token".to_owned()), ..expected };
        assert_eq!(credential(&headers, AwsService::Sts).unwrap(), expected);
    }
}
