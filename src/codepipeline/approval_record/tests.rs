//! A request that is not in the history that the operator reads.

use super::*;
use crate::codepipeline::pipeline::{Page, PipelineExecution};
use futures::FutureExt;
use serde_json::json;

/// A pipeline whose history has this many pages, all of them empty.
struct Pages(usize);

impl PipelineReader for Pages {
    async fn pipeline_state(&self) -> Result<PipelineState, CallError> {
        Ok(PipelineState::default())
    }

    async fn pipeline_executions(&self, _page: Option<String>) -> Result<Page<PipelineExecution>, CallError> {
        Ok(Page { items: Vec::new(), next: None })
    }

    async fn pipeline_execution(&self, _id: &str) -> Result<PipelineExecution, CallError> {
        Err(CallError::Indeterminate { detail: "not called".to_owned() })
    }

    async fn action_executions(
        &self,
        _execution: Option<&str>,
        page: Option<String>,
    ) -> Result<Page<ActionExecution>, CallError> {
        let number: usize = page.map_or(1, |page| page.parse().expect("a number"));
        Ok(Page { items: Vec::new(), next: (number < self.0).then(|| (number + 1).to_string()) })
    }
}

#[test]
fn only_a_history_that_was_read_to_its_end_proves_that_a_request_is_not_in_it() {
    let token = "0a1b2c3d-0000-4000-8000-00000000000a";
    let spec = json!({
        "pipelineName": "shop", "stageName": "Production", "actionName": "Approve", "token": token,
        "result": { "status": "Approved", "summary": "" },
    });
    let (spec, token) = (serde_json::from_value(spec).expect("a spec"), Token(token.to_owned()));
    for (pages, expected) in [
        (1, ApprovalRecord::NotVisible),
        (MAX_PAGES, ApprovalRecord::NotVisible),
        (MAX_PAGES + 1, ApprovalRecord::BeyondHistory),
    ] {
        let request = RecordQuery { spec: &spec, token: &token, ids: &ExecutionIds::default() };
        let record = read_approval_record(&Pages(pages), request).now_or_never().expect("a result at once");
        assert_eq!(record.expect("a record"), expected, "{pages} pages");
    }
}
