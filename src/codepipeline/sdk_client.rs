//! A client of the SDK, with what STS said about its credentials when it was loaded.

use super::clock_skew::AwsClock;
use super::credentials::{OwnCredentials, PrefetchedCredentials, RoleCredentials};
use super::destination::{AssumedRole, Destination, TargetDestination};
use super::identity::{Verified, VerifyError};
use super::sdk_config::{AwsEnvironment, ClientSettings, client_config, find_credentials, session_config};
use super::session_name::SessionName;
use super::sts::{DECISION_SESSION, READ_SESSION, Sts, check_account};
use crate::api::v1alpha1::Location;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_codepipeline as sdk;
use std::time::{Duration, Instant, SystemTime};
use tokio::time::timeout_at;

/// How much longer than the timeout of a call the session of a decision must last: an attempt includes the write of its intent, and
/// allows for wrong clocks.
const ATTEMPT_MARGIN: Duration = Duration::from_secs(60);

/// A client of the SDK. The time identifies it: a client that is loaded later has a later one.
#[derive(Clone, Debug)]
pub(super) struct SdkClient {
    pub(super) client: sdk::Client,
    pub(super) sts: Sts,
    pub(super) verified: Verified,
    pub(super) clock: AwsClock,
    pub(super) loaded_at: Instant,
}

/// The client with whose credentials the result of a decision is submitted.
#[derive(Clone, Debug)]
pub struct Session(pub(super) SdkClient);

impl Session {
    /// The account and the region to which the result is submitted.
    #[must_use]
    pub const fn location(&self) -> &Location {
        &self.0.verified.location
    }
}

impl SdkClient {
    /// Loads a client within the timeout: finds credentials, and asks STS who they belong to.
    pub(super) async fn load(settings: &ClientSettings, destination: &Destination) -> Result<Self, VerifyError> {
        let timeout = settings.timeout;
        let deadline = tokio::time::Instant::now() + timeout;
        let environment = match timeout_at(deadline, find_credentials(settings, destination)).await {
            Ok(environment) => environment?,
            Err(_) => {
                let problem = format!("no AWS credentials found within {timeout:?}");
                return Err(VerifyError::CredentialsUnavailable(problem));
            }
        };
        let AwsEnvironment { config, sts, region, credentials: own, provider } = environment;
        let sts = Sts::new(&sts, PrefetchedCredentials::new(own.clone(), provider.clone()), timeout);
        let role = destination.target().and_then(|target| Some((target, target.role.as_ref()?)));
        let credentials = match role {
            Some((target, role)) => {
                let name = SessionName::for_reads();
                sts.assume_role(target, role, &name, READ_SESSION, deadline).await?.credentials
            }
            None => own,
        };
        let caller = sts.caller(credentials.clone(), deadline).await?;
        if let Some(target) = destination.target() {
            check_account(&caller.account_id, target)?;
        }
        let source = match role {
            Some((target, role)) => {
                let (target, role) = (target.clone(), role.clone());
                SharedCredentialsProvider::new(RoleCredentials { target, role, sts: sts.clone() })
            }
            None => {
                let account_id = caller.account_id.clone();
                SharedCredentialsProvider::new(OwnCredentials::new(account_id, &credentials, provider, sts.clone()))
            }
        };
        let location = Location { account_id: caller.account_id, region: region.to_string() };
        let provider = PrefetchedCredentials::new(credentials, source);
        let client = sdk::Client::from_conf(client_config(&config, region, provider, timeout));
        let verified = Verified { location, caller_arn: caller.arn };
        Ok(Self { client, sts, verified, clock: AwsClock::new(caller.aws_time), loaded_at: Instant::now() })
    }

    /// Assumes the role under the name of a decision. The session lasts until an attempt to submit its result has ended.
    pub(super) async fn open_session(
        &self,
        target: &TargetDestination,
        role: &AssumedRole,
        name: &SessionName,
        timeout: Duration,
    ) -> Result<Session, VerifyError> {
        let session = self.sts.assume_role(target, role, name, DECISION_SESSION, self.sts.deadline()).await?;
        self.clock.update(session.aws_time);
        self.clock.check()?;
        let remaining = session.expires_at.duration_since(SystemTime::now()).unwrap_or_default();
        if remaining < timeout + ATTEMPT_MARGIN {
            let problem = format!(
                "STS returned a session of the role {} that expires in {} s, which is too soon to submit a result",
                role.arn,
                remaining.as_secs()
            );
            return Err(VerifyError::CredentialsUnavailable(problem));
        }
        let client = sdk::Client::from_conf(session_config(self.client.config(), session.credentials));
        Ok(Session(Self { client, ..self.clone() }))
    }
}
