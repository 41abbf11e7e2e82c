//! The commands of the pages that a newcomer follows run as they are written, against a real API server and local-codepipeline. What
//! needs AWS, a registry, Docker or a node is not run, for the reason in the plan of the page.

mod page;
mod sandbox;

use page::Action::{File, Run, Skip, Terminal};
use page::Script;
use page::Step::{self, Again, Block, Setup};
use sandbox::Sandbox;
use std::process::Command;
use test_control_plane::{ControlPlane, User};
use test_support::Cluster;

const AWS: &str = "needs an AWS account";
const DOCKER: &str = "needs Docker";
const NOT_A_COMMAND: &str = "is not a command";
const ELSEWHERE: &str = ".ci/run runs it, or it takes too long for a test";

/// Where the API server of a page comes from.
enum ApiServer {
    Given,
    StartedByPage,
}

/// Follows a page. Replacements are names that the reader chooses, and what waits for pods, because there is no node, or for Ctrl-C.
fn follow(page: &str, api_server: ApiServer, replacements: &[(&str, &str)], plan: &[Step]) {
    let sandbox = Sandbox::new();
    let endpoint = sandbox.endpoint();
    let default = [("127.0.0.1:4580", endpoint.as_str())];
    let replacements: Vec<_> = default.iter().chain(replacements).copied().collect();
    let script = Script::new(page, plan, &replacements).unwrap_or_else(|error| panic!("{error}"));
    let control_plane = match api_server {
        ApiServer::Given => Some(ControlPlane::start().unwrap()),
        ApiServer::StartedByPage => None,
    };
    script.check(&sandbox.run(&script.text, control_plane.as_ref()));
}

const INSTALL_CRDS: &str = "\
    kubectl apply --server-side --filename crds/
    kubectl wait --for=condition=Established --filename crds/";

/// Starts both in the background, with the identifiers of the examples. `seed.yaml` may have pipelines.
const START_CODEPIPELINE_AND_OPERATOR: &str = "\
    export AWS_ENDPOINT_URL=$ENDPOINT AWS_REGION=eu-west-1 AWS_DEFAULT_REGION=eu-west-1
    export AWS_ACCESS_KEY_ID=operator AWS_SECRET_ACCESS_KEY=anything
    [[ -f seed.yaml ]] || echo 'pipelines: []' >seed.yaml
    terminal http: <<<'exec local-codepipeline serve --lags none --id-seed 1 --seed seed.yaml'
    codepipeline=$!
    terminal started <<<'exec approval-operator run'
    operator=$!";

#[test]
fn the_readme() {
    let replacements =
        [(" --wait", ""), ("kubectl exec deployment/local-codepipeline -- /local-codepipeline", "local-codepipeline")];
    follow(
        "README.md",
        ApiServer::Given,
        &replacements,
        &[
            Block("kind: ApprovalDecision", File("decision.yaml")),
            Setup(INSTALL_CRDS),
            Setup(START_CODEPIPELINE_AND_OPERATOR),
            Setup(
                "kubectl apply --filename decision.yaml
            commit=$(sed -n 's/.*revisionId: //p' decision.yaml)
            local-codepipeline start-execution checkout Prod Approve --build-duration 1s --revision Source=$commit
            kubectl wait apd approve-checkout --for=condition=Ready --timeout=60s",
            ),
            Block("kubectl get apd", Run(&["NAME PIPELINE STAGE ACTION DECISION READY REASON APPROVEDAT AGE"])),
            Block("kind create cluster", Skip(DOCKER)),
            // Helm installs no pods here, so this operator waits for the definitions.
            Setup(
                "kubectl delete --filename crds/
            kill $codepipeline $operator
            wait
            terminal http: <<<'exec local-codepipeline serve --lags none --id-seed 1'
            (until kubectl get --filename crds/; do sleep 0.5; done; exec approval-operator run) &>operator.log &",
            ),
            Block("--values examples/kind-values.yaml", Run(&["condition met"])),
        ],
    );
}

#[test]
fn contributing() {
    follow(
        "CONTRIBUTING.md",
        ApiServer::Given,
        &[],
        &[
            Block(".ci/run", Skip(ELSEWHERE)),
            Block("cargo test --test it NAME", Run(&[])),
            Block("cargo test --lib", Run(&[])),
            Block("cargo test -p simulation", Run(&[])),
            Block("hack/faults.sh api-server", Skip(ELSEWHERE)),
            Block("cargo run -p test-control-plane -- run", Terminal("export KUBECONFIG=")),
            Block("export", Skip(NOT_A_COMMAND)),
            Block("tests/e2e/node/node.sh", Skip(ELSEWHERE)),
            Block("cargo run -p local-codepipeline -- serve", Terminal("http://127.0.0.1:")),
            Setup("kill $!; wait"),
            Block("cargo run -- crd | kubectl apply", Run(&["serverside-applied"])),
            Block("AWS_PROFILE", Skip(AWS)),
            Block("cargo run -p local-codepipeline -- serve &", Terminal("starting to reconcile")),
            Setup(APPROVE),
        ],
    );
}

/// Approves with a token, as the examples do, once the endpoint that the page started listens.
const APPROVE: &str = "\
    curl --silent --output /dev/null --retry 60 --retry-delay 1 --retry-connrefused $ENDPOINT
    token=$(local-codepipeline open-approval checkout Prod Approve)
    sed \"s/token: .*/token: $token/\" examples/approve.yaml | kubectl apply --filename -
    kubectl wait apd approve-checkout --for=condition=Ready --timeout=60s";

#[test]
fn a_local_codepipeline() {
    follow(
        "docs/local-codepipeline.md",
        ApiServer::StartedByPage,
        &[],
        &[
            Block("cargo build --workspace", Run(&[])),
            Block("local-codepipeline serve &", Run(&["condition met"])),
            Block(
                "local-codepipeline ledger",
                Run(&["condition met", "checkout/Prod/Approve Approved operator accepted"]),
            ),
            Block("local-codepipeline respond", Run(&["Rejected by bob"])),
            Block("curl", Run(&[r#"{"pipelineExecutionId":""#])),
        ],
    );
}

#[test]
fn install() {
    let replacements = [
        ("REGISTRY", "registry.example.com"),
        (" --wait", ""),
        (" --watch", ""),
        ("\nhelm test approval-operator --namespace approvals", ""),
        // The page installs in two ways, and the first is installed already.
        ("kubectl apply --filename -", "kubectl apply --dry-run=server --filename -"),
    ];
    follow(
        "docs/install.md",
        ApiServer::Given,
        &replacements,
        &[
            Block("docker push", Skip("needs Docker and a registry")),
            Block("helm install approval-operator-crds", Run(&["STATUS: deployed"])),
            // The API server needs five minutes to delete a definition whose storage it has not initialized yet: list the kinds first.
            Setup(
                "kubectl get approvaldecisions,approvaltargets --all-namespaces
            helm uninstall approval-operator-crds --namespace approvals
            kubectl delete --filename crds/
            approval-operator crd | kubectl apply --server-side --filename -
            if helm install approval-operator-crds charts/approval-operator-crds --namespace approvals; then exit 1; fi",
            ),
            Block("--take-ownership", Run(&["STATUS: deployed"])),
            Block("aws eks create-addon", Skip(AWS)),
            Block("repository: REGISTRY/approval-operator", File("values.yaml")),
            Block("helm install approval-operator charts/approval-operator", Run(&["STATUS: deployed"])),
            Block("name: approve-checkout", File("approve-checkout.yaml")),
            Block("kubectl create namespace team-a", Run(&[])),
            Block("rolebinding see-operator", Run(&["created"])),
            Setup(
                "kubectl auth can-i get leases/approval-operator --namespace approvals --as jane --as-group checkout-approvers
            sed 's/catalog/checkout/' examples/wait-for-execution.yaml >decision.yaml
            approver=(kubectl --namespace team-a --as jane --as-group checkout-approvers)
            \"${approver[@]}\" create --filename decision.yaml
            \"${approver[@]}\" delete --filename decision.yaml",
            ),
            Block("clusterrolebinding see-targets", Run(&["created"])),
            Setup("kubectl auth can-i list approvaltargets --as jane --as-group checkout-approvers"),
            Block("kubectl --namespace team-a apply --filename decision.yaml", Run(&["created"])),
            Setup("kubectl create namespace team-b"),
            Block("helm template approval-operator", Run(&[])),
            Block("helm upgrade approval-operator-crds", Run(&["STATUS: deployed"])),
            Block("helm uninstall approval-operator", Run(&["release \"approval-operator\" uninstalled"])),
            Setup("kubectl --namespace team-a get apd wait-for-execution"),
        ],
    );
}

/// The account and the role of the page exist in the local CodePipeline.
#[test]
fn more_accounts() {
    follow(
        "docs/targets.md",
        ApiServer::Given,
        &[],
        &[
            Setup(INSTALL_CRDS),
            Setup(
                "cat >seed.yaml <<'END'
roles:
  - {arn: 'arn:aws:iam::111122223333:role/approvals', externalId: approvals-7d1f, trusts: ['123456789012']}
END",
            ),
            Setup(START_CODEPIPELINE_AND_OPERATOR),
            Block("accountId:", File("spec.yaml")),
            // It is a part of the example.
            Setup(
                "sed --quiet '1,/^spec:/ {/^spec:/!p}' examples/targets/target.yaml | cat - spec.yaml | kubectl apply --filename -
            kubectl wait apt production --for=condition=Ready --timeout=60s",
            ),
            Block("create-stack-set", Skip(AWS)),
            Block("examples/targets/target.yaml", Run(&["condition met"])),
            Block(
                "kubectl get apt",
                Run(&["NAME ACCOUNT REGION READY REASON AGE", "production 111122223333 eu-central-1 True Verified"]),
            ),
            Setup(
                "kubectl create namespace team-a
            kubectl --namespace team-a apply --filename examples/targets/approve.yaml
            commit=$(sed -n 's/.*revisionId: //p' examples/targets/approve.yaml)
            local-codepipeline start-execution checkout Prod Approve --account 111122223333 --region eu-central-1 --build-duration 1s --revision Source=$commit
            kubectl --namespace team-a wait apd approve-in-production --for=condition=Ready --timeout=60s
            local-codepipeline ledger | grep team-a.approve-in-production.",
            ),
        ],
    );
}

/// The AWS CLI evaluates the queries of this page.
#[test]
fn approve_what_is_pending() {
    follow(
        "docs/pending.md",
        ApiServer::Given,
        &[],
        &[
            Setup(INSTALL_CRDS),
            Setup(
                "cat >seed.yaml <<'END'
pipelines:
  - name: checkout
    stages: &stages
      - {name: Source, actions: [{name: Source, category: Source}]}
      - {name: Prod, actions: [{name: Approve, category: Approval}]}
  - {name: previews, executionMode: PARALLEL, stages: *stages}
executions: [{pipelineName: checkout}, {pipelineName: previews}]
END",
            ),
            Setup(START_CODEPIPELINE_AND_OPERATOR),
            Block(
                "get-pipeline-state --name checkout",
                Run(&[
                    r#""stage": "Prod", "execution": "1c073e3d-9846-5018-a425-c09afedb3421""#,
                    r#""action": "Approve", "token": "0c5c99a2-85d4-5ce1-9500-bb386ab1abd3""#,
                ]),
            ),
            Again("checkout", "previews", &["[]"]),
            Block(
                "list-pipelines",
                Run(&[
                    r#"[ { "pipeline": "checkout", "stage": "Prod", "execution": "1c073e3d-9846-5018-a425-c09afedb3421", "approvals": [ "Approve" ] } ] []"#,
                ]),
            ),
            Block("list-action-executions", Run(&[r#""action": "Approve""#, r#""token": null"#])),
            Again(
                "checkout",
                "previews",
                &[r#""action": "Approve""#, r#""token": "433a83fa-3f20-5976-9088-ba71053329ec""#],
            ),
            Block(
                "list-pipeline-executions",
                Run(&[
                    r#""execution": "1c073e3d-9846-5018-a425-c09afedb3421""#,
                    r#""revisions": [ { "source": "Source", "revision": "d90152655db2515abae4f3fbb81ff8ac77ea10ec""#,
                ]),
            ),
            Block("kind: ApprovalDecision", File("decision.yaml")),
            Block("kubectl wait apd", Run(&["condition met", "Delivered"])),
            // Nothing is pending now.
            Setup(
                "aws codepipeline get-pipeline-state --name checkout --query 'stageStates[].actionStates[?latestExecution.token][]'",
            ),
        ],
    );
}

/// An operator in that cluster would submit the decisions of the demo to real pipelines.
#[test]
fn the_demo_refuses_a_cluster_that_has_the_definitions() {
    let cluster = &Cluster::shared().control_plane;
    let demo = Command::new("hack/demo.sh")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("PATH", cluster.command(User::Admin, "").get_envs().find(|(name, _)| *name == "PATH").unwrap().1.unwrap())
        .env("DEMO_KUBECONFIG", cluster.kubeconfig(User::Admin))
        .output()
        .unwrap();
    let (output, error) = (String::from_utf8(demo.stdout).unwrap(), String::from_utf8(demo.stderr).unwrap());
    assert!(!demo.status.success());
    assert!(
        output.starts_with(&format!("The demo uses the cluster of the context admin ({})", cluster.url())),
        "{output}"
    );
    assert_eq!(output.lines().count(), 1, "it did something before it refused: {output}");
    assert!(error.contains("approvaldecisions.codepipeline.approvals.dev"), "{error}");
}
