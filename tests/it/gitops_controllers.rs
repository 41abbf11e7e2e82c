//! "Merge a pull request, and the approval is given", with the controllers of Flux and Argo CD: each story merges commits, and
//! watches what the controller reports, what the decisions report, and what CodePipeline receives. `make gitops` runs them.

mod doubt;
mod drift;
mod git;
mod installation;
mod merges;
mod pitfalls;
mod refusals;
mod site;
mod stalled;
mod timing;
mod webhook;
mod withdrawals;

use site::Controller;

/// Runs each story with each controller.
macro_rules! stories {
    ($($module:ident::$story:ident,)*) => {
        stories!(flux, Flux, $($module::$story,)*);
        stories!(argo_cd_client_side_diff, ArgoCdClientSideDiff, $($module::$story,)*);
        stories!(argo_cd_server_side_diff, ArgoCdServerSideDiff, $($module::$story,)*);
    };
    ($name:ident, $controller:ident, $($module:ident::$story:ident,)*) => {
        mod $name {
            $(
                #[tokio::test(flavor = "multi_thread")]
                #[ignore = "needs the controllers: make gitops"]
                async fn $story() {
                    super::$module::$story(super::Controller::$controller).await;
                }
            )*
        }
    };
}

stories! {
    merges::a_decision_that_is_merged_before_its_execution_starts,
    merges::the_next_release_in_the_same_file,
    merges::a_settled_decision_whose_summary_changes,
    refusals::two_decisions_and_a_refused_manifest_in_one_commit,
    refusals::a_refused_edit_next_to_another_edit,
    refusals::a_pipeline_that_the_account_may_not_approve,
    stalled::a_decision_that_contradicts_the_response,
    withdrawals::the_file_of_a_waiting_decision_is_removed,
    withdrawals::a_removal_while_a_manifest_of_another_team_is_refused,
    withdrawals::a_removal_while_a_manifest_of_the_same_team_is_refused,
    doubt::an_edit_while_a_submission_is_in_doubt,
    doubt::suspend_while_a_submission_is_in_doubt,
    drift::the_namespace_is_deleted_and_synced_again,
    drift::a_field_of_the_manifest_is_changed_with_kubectl,
    drift::a_field_that_the_manifest_does_not_have_is_set_with_kubectl,
    timing::from_the_merge_to_the_submission,
}
