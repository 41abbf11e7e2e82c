//! The credentials of a target with a role: sessions for reads.

use crate::codepipeline::destination::{AssumedRole, TargetDestination};
use crate::codepipeline::session_name::SessionName;
use crate::codepipeline::sts::{READ_SESSION, Sts};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{
    ProvideCredentials, error::CredentialsError, future::ProvideCredentials as Provided,
};

/// A provider that assumes the role of a target, and checks that each session belongs to the target's account.
#[derive(Debug)]
pub struct RoleCredentials {
    pub target: TargetDestination,
    pub role: AssumedRole,
    pub sts: Sts,
}

impl RoleCredentials {
    async fn assume(&self) -> Result<Credentials, CredentialsError> {
        let (name, deadline) = (SessionName::for_reads(), self.sts.deadline());
        let session = self.sts.assume_role(&self.target, &self.role, &name, READ_SESSION, deadline).await;
        session.map(|session| session.credentials).map_err(CredentialsError::provider_error)
    }
}

impl ProvideCredentials for RoleCredentials {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        Provided::new(self.assume())
    }
}
