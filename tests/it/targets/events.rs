//! Each change of reason of a target is one Event, which `kubectl describe` shows.

use super::site::{ONE, Site, role_arn};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use local_codepipeline::iam::Role;
use serde_json::json;
use std::time::Duration;
use tokio::time::sleep;

impl Site {
    /// The types and reasons of the Events about a target that is created once, the oldest first.
    async fn events(&self, name: &str) -> Vec<(String, String)> {
        let events: Api<Event> = Api::namespaced(self.env.client.clone(), "default");
        let mut events = events.list(&ListParams::default()).await.unwrap().items;
        events.retain(|event| {
            let about = event.regarding.as_ref();
            about.is_some_and(|object| {
                object.kind.as_deref() == Some("ApprovalTarget") && object.name.as_deref() == Some(name)
            })
        });
        events.sort_by_key(|event| event.event_time.clone());
        events.into_iter().map(|event| (event.type_.unwrap(), event.reason.unwrap())).collect()
    }

    async fn wait_for_events(&self, name: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> =
            expected.iter().map(|(kind, reason)| ((*kind).to_owned(), (*reason).to_owned())).collect();
        let mut found = Vec::new();
        for _ in 0..300 {
            found = self.events(name).await;
            if found.len() >= expected.len() {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(found, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_of_reason_is_one_event_and_a_restart_is_none() {
    let site = Site::new().await;
    let env = &site.env;
    let sts = &env.codepipeline;
    // Other tests have targets too, and their Events stay.
    let name = format!("target-{}", env.namespace);
    site.create(&name, ONE).await;
    let operator = env.operator().start();
    site.wait_for_events(&name, &[("Normal", "Verified")]).await;
    sts.put_role(Role::new(&role_arn(ONE)).unwrap().trusts([]).unwrap());
    site.patch(&name, json!({ "externalId": "approvals-1" })).await;
    let changes = [("Normal", "Verified"), ("Warning", "AssumeRoleDenied")];
    site.wait_for_events(&name, &changes).await;
    let described = site.kubectl(&["describe", "apt", &name]);
    let (_, events) = described.rsplit_once("Events:").unwrap();
    assert!(events.contains("AssumeRoleDenied") && events.contains("sts:AssumeRole"), "{described}");

    // It is verified again after a restart.
    drop(operator);
    let operator = env.operator().start();
    operator.wait_for_log("AssumeRoleDenied").await;
    sleep(Duration::from_secs(2)).await;
    site.wait_for_events(&name, &changes).await;

    sts.put_role(Role::new(&role_arn(ONE)).unwrap());
    site.wait_for(&name, "Verified").await;
    let healed = [changes.as_slice(), &[("Normal", "Verified")]].concat();
    site.wait_for_events(&name, &healed).await;
    drop(operator);
    let operator = env.operator().start();
    operator.wait_for_log("AWS accepted the operator's credentials").await;
    sleep(Duration::from_secs(2)).await;
    site.wait_for_events(&name, &healed).await;
}
