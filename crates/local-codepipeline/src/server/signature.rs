//! Identifies the caller. It checks the format of the Authorization header as AWS does, to detect a client that does
//! not sign or signs for another service. It does not verify the signature, because the endpoint has no secret keys.

use axum::http::{HeaderMap, header::AUTHORIZATION};

use crate::faults::ErrorResponse;

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

/// The access key id that signed the request, for this service.
pub(super) fn access_key(headers: &HeaderMap, expected: AwsService) -> Result<String, ErrorResponse> {
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
    let [key, _date, _region, service, "aws4_request"] = *credential.split('/').collect::<Vec<_>>() else {
        return incomplete(&format!("Credential must have the form KEY/DATE/REGION/{expected}/aws4_request."));
    };
    if service != expected {
        let message = format!("Credential should be scoped to correct service: '{expected}'.");
        return Err(ErrorResponse::new(400, "InvalidSignatureException", message));
    }
    Ok(key.to_owned())
}

/// The response to an access key that AWS does not know.
pub(super) fn unknown_access_key() -> ErrorResponse {
    ErrorResponse::new(400, "UnrecognizedClientException", "The security token included in the request is invalid.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(header: Option<&str>, service: AwsService) -> Result<String, String> {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert(AUTHORIZATION, header.parse().unwrap());
        }
        access_key(&headers, service).map_err(|error| error.kind)
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
}
