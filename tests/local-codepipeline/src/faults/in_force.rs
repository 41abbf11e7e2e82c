//! Which fault hits a request. Faults are used up in the order in which they were put in force, and one that names a
//! pipeline leaves the requests of others alone, so tests can share an endpoint.

use std::collections::VecDeque;

use super::{Fault, Requests};
use crate::api::Operation;

/// The faults that are in force, the oldest first: of several that hit a request, the oldest does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(VecDeque<Fault>);

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault) {
        self.0.push_back(fault);
    }

    pub(crate) fn list(&self) -> Vec<Fault> {
        self.0.iter().cloned().collect()
    }

    /// Ends all of them, or those of one pipeline.
    pub(crate) fn clear(&mut self, pipeline: Option<&str>) {
        self.0.retain(|fault| pipeline.is_some() && fault.pipeline_name.as_deref() != pipeline);
    }

    /// The fault that hits this request, used up by one.
    pub(crate) fn hit(&mut self, operation: Operation, pipeline: Option<&str>) -> Option<Fault> {
        self.0.retain(|fault| fault.requests != Requests::Next(0));
        let fault = self.0.iter_mut().find(|fault| fault.hits(operation, pipeline))?;
        let hit = fault.clone();
        if let Requests::Next(left) = &mut fault.requests {
            *left -= 1;
        }
        Some(hit)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_fault_hits_as_many_requests_as_it_says_of_the_operation_and_pipeline_that_it_names() {
        let mut faults = Faults::default();
        faults.add(Fault::throttled().on(Operation::GetPipelineState).pipeline("a").times(2));
        assert_eq!(faults.hit(Operation::GetPipelineState, Some("b")), None);
        assert_eq!(faults.hit(Operation::PutApprovalResult, Some("a")), None);
        assert_eq!(faults.hit(Operation::ListPipelines, None), None);
        assert!(faults.hit(Operation::GetPipelineState, Some("a")).is_some());
        assert!(faults.hit(Operation::GetPipelineState, Some("a")).is_some());
        assert_eq!(faults.hit(Operation::GetPipelineState, Some("a")), None);
    }

    #[test]
    fn the_oldest_of_several_faults_hits_first() {
        let mut faults = Faults::default();
        faults.add(Fault::throttled());
        faults.add(Fault::unavailable().always());
        let hit = |faults: &mut Faults| faults.hit(Operation::ListPipelines, None).map(|fault| fault.to_string());
        assert_eq!(hit(&mut faults).as_deref(), Some("not applied, answered ThrottlingException"));
        assert_eq!(hit(&mut faults).as_deref(), Some("not applied, answered ServiceUnavailable"));
        assert_eq!(hit(&mut faults).as_deref(), Some("not applied, answered ServiceUnavailable"));
    }

    #[test]
    fn clearing_one_pipelines_faults_leaves_the_others() {
        let mut faults = Faults::default();
        faults.add(Fault::throttled().pipeline("a").always());
        faults.add(Fault::throttled().pipeline("b").always());
        faults.clear(Some("a"));
        assert_eq!(faults.list(), [Fault::throttled().pipeline("b").always()]);
        faults.clear(None);
        assert_eq!(faults.list(), []);
    }

    #[test]
    fn a_fault_is_written_as_json_in_the_words_of_the_documentation() {
        let json = r#"{"operation":"PutApprovalResult","pipelineName":"checkout","requests":{"next":2},
            "delayBefore":"250ms","effect":{"notApplied":{"error":{"status":400,"type":"X","message":"y"}}}}"#;
        let fault: Fault = serde_json::from_str(json).unwrap();
        let expected = Fault::error(400, "X", "y").on(Operation::PutApprovalResult).pipeline("checkout").times(2);
        assert_eq!(fault, expected.delay_before(Duration::from_millis(250)));
        let json = r#"{"requests":"all","effect":{"applied":"close"}}"#;
        assert_eq!(serde_json::from_str::<Fault>(json).unwrap(), Fault::cut_after_applying().always());
    }
}
