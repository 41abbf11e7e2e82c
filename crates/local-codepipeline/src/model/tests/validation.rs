//! The messages of CodePipeline's input validation.

use super::*;

fn message(change: impl FnOnce(&mut PutApprovalResultInput)) -> String {
    let token = "4f2e1d00-0000-4000-8000-000000000000";
    let mut input = PutApprovalResultInput::new("p", "Prod", "Approve", token, ApprovalStatus::Approved, "");
    change(&mut input);
    let refused = empty_service(Behaviour::default()).put_approval_result(second(0), ALICE, &input).unwrap_err();
    format!("{}: {}", refused.kind, refused.message)
}

#[test]
fn each_message_names_the_member_and_its_constraint() {
    let summary =
        |text: String| move |input: &mut PutApprovalResultInput| input.result.as_mut().unwrap().summary = Some(text);
    let one = |rest: &str| format!("ValidationException: 1 validation error detected: Value at {rest}");
    let table = [
        (
            message(|input| input.pipeline_name = Some("a b".into())),
            one(
                r"'pipelineName' failed to satisfy constraint: Member must satisfy regular expression pattern: [A-Za-z0-9.@\-_]+",
            ),
        ),
        (
            message(|input| input.stage_name = Some("s".repeat(101))),
            one("'stageName' failed to satisfy constraint: Member must have length less than or equal to 100"),
        ),
        (
            message(|input| input.action_name = None),
            one("'actionName' failed to satisfy constraint: Member must not be null"),
        ),
        (
            message(|input| input.token = Some("4F2E1D00-0000-4000-8000-000000000000".into())),
            one("'token' failed to satisfy constraint: Member must satisfy regular expression pattern: \
                 [0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
        ),
        (
            message(summary("ä".repeat(513))),
            one("'result.summary' failed to satisfy constraint: Member must have length less than or equal to 512"),
        ),
        (
            message(|input| input.result.as_mut().unwrap().status = Some("Maybe".into())),
            one(
                "'result.status' failed to satisfy constraint: Member must satisfy enum value set: [Approved, Rejected]",
            ),
        ),
        (message(|input| input.result = None), one("'result' failed to satisfy constraint: Member must not be null")),
    ];
    for (message, expected) in table {
        assert_eq!(message, expected);
    }
    assert!(message(summary("ä".repeat(512))).starts_with("PipelineNotFoundException"), "512 characters are allowed");
}

#[test]
fn one_message_lists_all_violations() {
    let message = message(|input| {
        input.pipeline_name = Some(String::new());
        input.token = None;
    });
    assert!(
        message.starts_with("ValidationException: 3 validation errors detected: Value at 'pipelineName'"),
        "{message}"
    );
    assert_eq!(message.matches("; Value at ").count(), 2, "{message}");
}

#[test]
fn the_page_size_is_limited() {
    let mut service = service_with(definition());
    for (wanted, good) in [(0, false), (1, true), (100, true), (101, false)] {
        let input = ListPipelineExecutionsInput {
            pipeline_name: Some("p".into()),
            max_results: Some(wanted),
            next_token: None,
        };
        assert_eq!(service.list_pipeline_executions(second(1), &input).is_ok(), good, "{wanted}");
    }
    let input = ListPipelinesInput { max_results: Some(1001), next_token: None };
    let refused = service.list_pipelines(second(1), &input).unwrap_err();
    assert!(refused.message.ends_with("Member must have value less than or equal to 1000"));
}
