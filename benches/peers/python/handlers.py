"""Reconciles ApprovalDecisions with kopf and boto3: records the intent, calls PutApprovalResult once, records the outcome.

TUNED=1 raises the default limits of threads and pooled connections.
"""

import datetime
import os

import boto3
import botocore.config
import kopf
import kubernetes

RESOURCE = ("codepipeline.approvals.dev", "v1alpha1")
PLURAL = "approvaldecisions"
TUNED = os.environ.get("TUNED") == "1"
CONCURRENCY = 32
CALL_TIMEOUT, DEADLINE_MARGIN = 10, 10


class Clients:
    """The clients of Kubernetes and AWS. Threads share them."""

    def __init__(self):
        configuration = kubernetes.client.Configuration()
        kubernetes.config.load_kube_config(client_configuration=configuration)
        # Without retries, like the operator: a second request could hide the outcome of the first.
        retries = {"total_max_attempts": 1}
        aws_config = botocore.config.Config(retries=retries, read_timeout=CALL_TIMEOUT)
        if TUNED:
            configuration.connection_pool_maxsize = CONCURRENCY
            aws_config = aws_config.merge(botocore.config.Config(max_pool_connections=CONCURRENCY))
        self.kubernetes = kubernetes.client.CustomObjectsApi(kubernetes.client.ApiClient(configuration))
        self.pipelines = boto3.client("codepipeline", config=aws_config)


@kopf.on.startup()
def configure(settings, memo, **_):
    settings.posting.level = 0
    if TUNED:
        settings.execution.max_workers = CONCURRENCY
    memo.clients = Clients()


@kopf.on.create(*RESOURCE, PLURAL)
def reconcile(body, meta, spec, status, name, namespace, memo, logger, **_):
    # A real operator would read the outcome of an interrupted submission from CodePipeline's history. The benchmark does not
    # measure that.
    if status.get("submission"):
        return
    started_at = now()
    generation, result = meta["generation"], spec["result"]
    submission = {
        "attempts": 1,
        "startTime": format_time(started_at),
        "deadline": format_time(started_at + datetime.timedelta(seconds=CALL_TIMEOUT + DEADLINE_MARGIN)),
        "token": spec["token"],
    }
    message = f"Attempt 1 to submit {result['status']} is in flight"
    conditions = [
        condition("Ready", "Unknown", "Submitting", message, generation, started_at),
        condition("Reconciling", "True", "Submitting", "Submitting the result", generation, started_at),
    ]
    intent = {"observedGeneration": generation, "submission": submission, "conditions": conditions}
    # The write includes the resourceVersion, so that a stale object causes a conflict before the call.
    version = write_status(memo, namespace, name, meta["resourceVersion"], intent)

    output = memo.clients.pipelines.put_approval_result(
        pipelineName=spec["pipelineName"],
        stageName=spec["stageName"],
        actionName=spec["actionName"],
        token=spec["token"],
        result=result,
    )
    approved_at = format_time(output["approvedAt"])
    message = f"CodePipeline accepted the result {result['status']} at {approved_at}"
    outcome = {
        "approvedAt": approved_at,
        "conditions": [condition("Ready", "True", "Delivered", message, generation, now())],
    }
    write_status(memo, namespace, name, version, outcome)
    logger.info("delivered at %s", approved_at)
    kopf.info(body, reason="Delivered", message=message)


def write_status(memo, namespace, name, version, status):
    patch = {"metadata": {"resourceVersion": version}, "status": status}
    written = memo.clients.kubernetes.patch_namespaced_custom_object_status(*RESOURCE, namespace, PLURAL, name, patch)
    return written["metadata"]["resourceVersion"]


def condition(type_, status, reason, message, generation, time):
    return {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": generation,
        "lastTransitionTime": time.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def format_time(time):
    return time.astimezone(datetime.timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")
