//! Selects the fault for a request. The oldest matching fault applies first. A fault that names a pipeline does not
//! affect the requests of other pipelines, so tests can share an endpoint.

use std::collections::VecDeque;

use super::{Fault, Requests};
use crate::api::Operation;

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

    /// Returns the oldest fault that matches the request, and counts the request against it.
    pub(crate) fn take(&mut self, operation: Operation, pipeline: Option<&str>) -> Option<Fault> {
        self.0.retain(|fault| fault.requests != Requests::Next(0));
        let fault = self.0.iter_mut().find(|fault| fault.matches(operation, pipeline))?;
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

    #[test]
    fn a_fault_affects_its_number_of_requests_of_its_operation_and_pipeline() {
        let mut faults = ActiveFaults::default();
        faults.add(Fault::throttled().on(Operation::GetPipelineState).pipeline("a").times(2));
        assert_eq!(faults.take(Operation::GetPipelineState, Some("b")), None);
        assert_eq!(faults.take(Operation::PutApprovalResult, Some("a")), None);
        assert_eq!(faults.take(Operation::ListPipelines, None), None);
        assert!(faults.take(Operation::GetPipelineState, Some("a")).is_some());
        assert!(faults.take(Operation::GetPipelineState, Some("a")).is_some());
        assert_eq!(faults.take(Operation::GetPipelineState, Some("a")), None);
    }

    #[test]
    fn the_oldest_matching_fault_applies_first() {
        let mut faults = ActiveFaults::default();
        faults.add(Fault::throttled());
        faults.add(Fault::service_unavailable().always());
        let take =
            |faults: &mut ActiveFaults| faults.take(Operation::ListPipelines, None).map(|fault| fault.to_string());
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
