"""Answers ApprovalDecisions as an operator on kopf with boto3 would: intent, one call, result.

TUNED=1 lifts what limits it as it comes: the number of threads and of kept connections.
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
CALL_TIMEOUT, MARGIN = 10, 10


class Neighbours:
    """The clients, made once: both are safe to share between threads."""

    def __init__(self):
        configuration = kubernetes.client.Configuration()
        kubernetes.config.load_kube_config(client_configuration=configuration)
        # As the operator has it: a second POST could hide what became of the first.
        once = {"total_max_attempts": 1}
        amazon = botocore.config.Config(retries=once, read_timeout=CALL_TIMEOUT)
        if TUNED:
            configuration.connection_pool_maxsize = CONCURRENCY
            amazon = amazon.merge(botocore.config.Config(max_pool_connections=CONCURRENCY))
        self.kubernetes = kubernetes.client.CustomObjectsApi(kubernetes.client.ApiClient(configuration))
        self.pipelines = boto3.client("codepipeline", config=amazon)


@kopf.on.startup()
def configure(settings, memo, **_):
    settings.posting.level = 0
    if TUNED:
        settings.execution.max_workers = CONCURRENCY
    memo.neighbours = Neighbours()


@kopf.on.create(*RESOURCE, PLURAL)
def decide(body, meta, spec, status, name, namespace, memo, logger, **_):
    # What became of an attempt that was cut off would have to be read from the service's record. Nothing of it is measured.
    if status.get("submission"):
        return
    begun = now()
    generation, answer = meta["generation"], spec["result"]
    submission = {
        "attempts": 1,
        "startTime": text(begun),
        "deadline": text(begun + datetime.timedelta(seconds=CALL_TIMEOUT + MARGIN)),
        "token": spec["token"],
    }
    words = f"Attempt 1 at answering {answer['status']} is under way"
    conditions = [
        condition("Ready", "Unknown", "Submitting", words, generation, begun),
        condition("Reconciling", "True", "Submitting", "The answer is being sent", generation, begun),
    ]
    intent = {"observedGeneration": generation, "submission": submission, "conditions": conditions}
    # With its resourceVersion: whoever works from an older object is told by a conflict, before anything is sent.
    version = write(memo, namespace, name, meta["resourceVersion"], intent)

    output = memo.neighbours.pipelines.put_approval_result(
        pipelineName=spec["pipelineName"],
        stageName=spec["stageName"],
        actionName=spec["actionName"],
        token=spec["token"],
        result=answer,
    )
    approved_at = text(output["approvedAt"])
    words = f"CodePipeline took the answer {answer['status']} at {approved_at}"
    result = {
        "approvedAt": approved_at,
        "conditions": [condition("Ready", "True", "Delivered", words, generation, now())],
    }
    write(memo, namespace, name, version, result)
    logger.info("delivered at %s", approved_at)
    kopf.info(body, reason="Delivered", message=words)


def write(memo, namespace, name, version, status):
    patch = {"metadata": {"resourceVersion": version}, "status": status}
    written = memo.neighbours.kubernetes.patch_namespaced_custom_object_status(*RESOURCE, namespace, PLURAL, name, patch)
    return written["metadata"]["resourceVersion"]


def condition(kind, status, reason, message, generation, at):
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": generation,
        "lastTransitionTime": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def text(time):
    return time.astimezone(datetime.timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")
