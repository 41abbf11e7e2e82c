//! Selects the fault for a request. The oldest matching fault applies first. A fault that names a pipeline does not
//! affect the requests of other pipelines, so tests can share an endpoint.

use std::collections::VecDeque;

use super::{Fault, FaultSubject, Requests};
use crate::model::Account;

/// The active faults, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct ActiveFaults(VecDeque<Fault>);

impl ActiveFaults {
    pub(crate) fn add(&mut self, fault: Fault) {
        self.0.push_back(fault);
    }

    pub(crate) fn list(&self) -> Vec<Fault> {
        self.0.iter().cloned().collect()
    }

    /// Removes all faults, or those of one pipeline.
    pub(crate) fn clear(&mut self, pipeline: Option<&str>) {
        self.0.retain(|fault| pipeline.is_some() && fault.pipeline_name.as_deref() != pipeline);
    }

    /// Removes the faults of one account, in one of its regions or in all of them.
    pub(crate) fn clear_account(&mut self, account: &Account) {
        self.0.retain(|fault| !fault.is_for(account));
    }

    /// Returns the oldest fault that matches the request, and counts the request against it.
    pub(crate) fn take(&mut self, subject: FaultSubject<'_>) -> Option<Fault> {
        self.0.retain(|fault| fault.requests != Requests::Next(0));
        let fault = self.0.iter_mut().find(|fault| fault.matches(subject))?;
        let taken = fault.clone();
        if let Requests::Next(remaining) = &mut fault.requests {
            *remaining -= 1;
        }
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        api::Operation,
        faults::SelectedOperation,
        iam::{RoleArn, StsOperation},
    };

    const ACCOUNT: &str = "123456789012";

    fn subject(operation: impl Into<SelectedOperation>, pipeline: Option<&str>) -> FaultSubject<'_> {
        let operation = operation.into();
        FaultSubject { operation, pipeline, account_id: ACCOUNT, region: "us-east-1", role: None, session_name: None }
    }

    #[test]
    fn a_fault_affects_its_number_of_requests_of_its_operation_and_pipeline() {
        let mut faults = ActiveFaults::default();
        faults.add(Fault::throttled().on(Operation::GetPipelineState).pipeline("a").times(2));
        assert_eq!(faults.take(subject(Operation::GetPipelineState, Some("b"))), None);
        assert_eq!(faults.take(subject(Operation::PutApprovalResult, Some("a"))), None);
        assert_eq!(faults.take(subject(Operation::ListPipelines, None)), None);
        assert!(faults.take(subject(Operation::GetPipelineState, Some("a"))).is_some());
        assert!(faults.take(subject(Operation::GetPipelineState, Some("a"))).is_some());
        assert_eq!(faults.take(subject(Operation::GetPipelineState, Some("a"))), None);
    }

    #[test]
    fn a_fault_affects_only_its_account_region_role_and_session() {
        let role: RoleArn = "arn:aws:iam::210987654321:role/approvals".parse().unwrap();
        let other: RoleArn = "arn:aws:iam::210987654321:role/readers".parse().unwrap();
        let base = FaultSubject {
            account_id: "210987654321",
            region: "eu-central-1",
            role: Some(&role),
            session_name: Some("team-a.web.0123456789"),
            ..subject(Operation::GetPipelineState, Some("web"))
        };
        let another = [
            FaultSubject { account_id: ACCOUNT, ..base },
            FaultSubject { region: "us-east-1", ..base },
            FaultSubject { role: Some(&other), ..base },
            FaultSubject { role: None, ..base },
            FaultSubject { session_name: Some("team-b.web.0123456789"), ..base },
            FaultSubject { session_name: None, ..base },
        ];
        let faults = [
            (Fault::throttled().account("210987654321"), &another[..1]),
            (Fault::throttled().region("eu-central-1"), &another[1..2]),
            (Fault::throttled().role(&role), &another[2..4]),
            (Fault::throttled().session("team-a.*"), &another[4..]),
            (Fault::throttled().session("team-a.web.0123456789"), &another[4..]),
        ];
        for (fault, others) in faults {
            for subject in others {
                assert!(!fault.matches(*subject), "{fault:?} {subject:?}");
            }
            assert!(fault.matches(base), "{fault:?}");
        }
        assert!(!Fault::throttled().session("team-a.").matches(base));
    }

    #[test]
    fn only_a_fault_that_names_an_operation_of_sts_affects_sts() {
        let assume_role = subject(StsOperation::AssumeRole, None);
        assert!(!Fault::throttled().matches(assume_role));
        assert!(!Fault::throttled().on(StsOperation::GetCallerIdentity).matches(assume_role));
        assert!(Fault::throttled().on(StsOperation::AssumeRole).matches(assume_role));
        let json = r#"{"operation":"AssumeRole","accountId":"210987654321","region":"eu-central-1",
            "roleArn":"arn:aws:iam::210987654321:role/a","sessionName":"b*","effect":{"notApplied":"hang"}}"#;
        let fault: Fault = serde_json::from_str(json).unwrap();
        let role = "arn:aws:iam::210987654321:role/a".parse().unwrap();
        let expected = Fault::hang_before_applying().on(StsOperation::AssumeRole).account("210987654321");
        assert_eq!(fault, expected.region("eu-central-1").role(&role).session("b*"));
        let written = serde_json::to_value(&fault).unwrap();
        assert_eq!(serde_json::from_value::<Fault>(written).unwrap(), fault);
        let error = serde_json::from_str::<Fault>(r#"{"operation":"Assume","effect":{"notApplied":"hang"}}"#);
        let expected = "this endpoint does not implement the operation `Assume`";
        assert!(error.unwrap_err().to_string().starts_with(expected));
    }

    #[test]
    fn clearing_the_faults_of_one_account_keeps_the_others() {
        let mut faults = ActiveFaults::default();
        faults.add(Fault::throttled().account("210987654321"));
        faults.add(Fault::throttled().account("210987654321").region("eu-west-1"));
        faults.add(Fault::throttled());
        faults.clear_account(&Account { id: "210987654321".to_owned(), region: "eu-central-1".to_owned() });
        assert_eq!(faults.list(), [Fault::throttled().account("210987654321").region("eu-west-1"), Fault::throttled()]);
    }

    #[test]
    fn the_oldest_matching_fault_applies_first() {
        let mut faults = ActiveFaults::default();
        faults.add(Fault::throttled());
        faults.add(Fault::service_unavailable().always());
        let take = |faults: &mut ActiveFaults| {
            faults.take(subject(Operation::ListPipelines, None)).map(|fault| fault.to_string())
        };
        assert_eq!(take(&mut faults).as_deref(), Some("not applied, response ThrottlingException"));
        assert_eq!(take(&mut faults).as_deref(), Some("not applied, response ServiceUnavailable"));
        assert_eq!(take(&mut faults).as_deref(), Some("not applied, response ServiceUnavailable"));
    }

    #[test]
    fn clearing_the_faults_of_one_pipeline_keeps_the_others() {
        let mut faults = ActiveFaults::default();
        faults.add(Fault::throttled().pipeline("a").always());
        faults.add(Fault::throttled().pipeline("b").always());
        faults.clear(Some("a"));
        assert_eq!(faults.list(), [Fault::throttled().pipeline("b").always()]);
        faults.clear(None);
        assert_eq!(faults.list(), []);
    }

    #[test]
    fn a_fault_is_deserialized_from_the_documented_json() {
        let json = r#"{"operation":"PutApprovalResult","pipelineName":"checkout","requests":{"next":2},
            "delayBefore":"250ms","effect":{"notApplied":{"error":{"status":400,"type":"X","message":"y"}}}}"#;
        let fault: Fault = serde_json::from_str(json).unwrap();
        let expected = Fault::error(400, "X", "y").on(Operation::PutApprovalResult).pipeline("checkout").times(2);
        assert_eq!(fault, expected.delay_before(Duration::from_millis(250)));
        let json = r#"{"requests":"all","effect":{"applied":"close"}}"#;
        assert_eq!(serde_json::from_str::<Fault>(json).unwrap(), Fault::disconnect_after_applying().always());
    }
}
