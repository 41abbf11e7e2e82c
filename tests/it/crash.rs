//! The operator killed and started again: no answer is lost, none is given twice, and each decision tells the truth.

use crate::support::{Case, Cluster, install_crds, reason, spec};
use approval_operator::api::v1alpha1::Reason;
use kube::api::ListParams;
use local_codepipeline::api::Operation;
use local_codepipeline::faults::Fault;
use std::time::Duration;
use tokio::time::timeout;

const DECISIONS: usize = 120;

#[tokio::test(flavor = "multi_thread")]
async fn killed_amid_many_decisions_each_is_accepted_once_and_has_its_time() {
    let case = Case::new().await;
    // Slow enough that a kill finds answers under way, on both sides of their being taken.
    case.service
        .fault(Fault::late().delay_before(Duration::from_millis(40)).delay_after(Duration::from_millis(40)).always());
    for number in 0..DECISIONS {
        case.approve(&format!("p{number}")).await;
    }
    for answers in [5, 20, 35, 50, 70, 90] {
        let operator = case.operator().argument("--concurrency=8").start();
        let answered = case.service.wait_for(|service, _| service.ledger().len() >= answers);
        timeout(Duration::from_secs(60), answered).await.unwrap_or_else(|_| panic!("{}", operator.log()));
        operator.kill();
    }
    let operator = case.operator().argument("--concurrency=8").start();
    for number in 0..DECISIONS {
        let pipeline = format!("p{number}");
        let decision = case.until(&pipeline, "settled", |decision| reason(decision) == Some(Reason::Delivered)).await;
        assert_eq!(case.accepted(&pipeline), 1, "{pipeline}\n{}", operator.log());
        assert!(decision.status.unwrap().approved_at.is_some(), "{pipeline}");
    }
    // Some kills must have hit an answer under way, or this test shows nothing.
    let posts = case.service.requests(Operation::PutApprovalResult);
    let decisions = case.decisions.list(&ListParams::default()).await.unwrap();
    let from_record =
        decisions.iter().filter(|decision| decision.status.as_ref().unwrap().decided_by.is_some()).count();
    assert!(from_record > 0, "no answer was lost by a kill; {posts} requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_the_answer_under_way_and_takes_no_new_one() {
    let case = Case::new().await;
    case.service.fault(Fault::late().delay_after(Duration::from_millis(500)));
    case.approve("under-way").await;
    let mut operator = case.operator().start();
    case.until_asked("under-way", 1).await;
    operator.signal("TERM");
    operator.until_log("stopping").await;
    case.approve("new").await;
    assert!(operator.ended().await.success(), "{}", operator.log());
    let decision = case.decisions.get("under-way").await.unwrap();
    assert_eq!(reason(&decision), Some(Reason::Delivered), "{}", operator.log());
    assert_eq!(reason(&case.decisions.get("new").await.unwrap()), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_written_once_the_api_server_is_back() {
    let mut cluster = Cluster::start_empty();
    install_crds(&cluster.control_plane);
    let case = Case::on(&cluster).await;
    let late = Fault::late().delay_before(Duration::from_millis(500)).delay_after(Duration::from_millis(3000));
    case.service.fault(late.on(Operation::PutApprovalResult));
    case.approve("web").await;
    let operator = case.operator().argument("--aws-timeout=10s").start();
    let taken = case.service.wait_for(|service, _| !service.ledger().is_empty());
    assert!(timeout(Duration::from_secs(20), taken).await.is_ok(), "{}", operator.log());
    cluster.control_plane.stop_api_server();
    operator.until_log("the result could not be written, and is tried again").await;
    cluster.control_plane.start_api_server().unwrap();
    let decision = case.until_reason("web", Reason::Delivered).await;
    assert_eq!(decision.status.unwrap().decided_by, None, "from the answer itself, not from the record");
    assert_eq!(case.service.requests(Operation::PutApprovalResult), 1);
    assert_eq!(case.service.requests(Operation::GetPipelineState), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_deleted_amid_its_answer_leaves_nothing_behind() {
    let case = Case::new().await;
    case.service.fault(Fault::late().delay_after(Duration::from_millis(300)).pipeline("gone"));
    let approval = case.approve("gone").await;
    let operator = case.operator().start();
    case.until_asked("gone", 1).await;
    case.delete("gone").await;
    operator.until_log("the decision was deleted meanwhile").await;
    // Recreated under its name it is another decision, which finds the request decided.
    case.create("gone", spec("gone", &approval)).await;
    case.until_reason("gone", Reason::AlreadyDecided).await;
    assert_eq!(case.accepted("gone"), 1);
    case.approve("next").await;
    case.until_reason("next", Reason::Delivered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_a_pipeline_that_was_replaced_does_not_lock_its_decision_for_ever() {
    let case = Case::new().await;
    let put = Operation::PutApprovalResult;
    case.service.fault(Fault::cut_before_applying().on(put).times(2));
    case.approve("web").await;
    let _operator = case.operator().start();
    // The second attempt comes after the record has shown to which run the request belongs.
    case.until_asked("web", 2).await;
    case.service.service(|service, now| service.delete_pipeline(now, "web").unwrap());
    case.open("web");
    case.until_reason("web", Reason::InvalidApprovalToken).await;
    assert_eq!(case.accepted("web"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_while_credentials_are_looked_for_sends_nothing_more() {
    let case = Case::new().await;
    let folder = tempfile::tempdir().unwrap();
    let [config, script, begun] = ["config", "credentials.sh", "begun"].map(|name| folder.path().join(name));
    let credentials = r#"{"Version":1,"AccessKeyId":"SLOW","SecretAccessKey":"s"}"#;
    std::fs::write(&script, format!("touch {}; sleep 2; echo '{credentials}'", begun.display())).unwrap();
    let process = format!("credential_process = sh {}", script.display());
    std::fs::write(&config, format!("[default]\nregion = eu-west-1\n{process}\n")).unwrap();
    case.approve("web").await;
    let mut operator = case.operator().configured_by(&config).argument("--aws-timeout=10s").start();
    // The decision's round is among those who wait for the credentials.
    let is_waiting = async || begun.exists() && operator.metric("approval_operator_reconciles_in_progress").await > 0.0;
    operator.eventually("it looks for credentials", is_waiting).await;
    operator.signal("TERM");
    assert!(operator.ended().await.success(), "{}", operator.log());
    assert_eq!(case.service.requests(Operation::PutApprovalResult), 0);
}
