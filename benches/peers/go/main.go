// Command controller reconciles ApprovalDecisions with controller-runtime and the AWS SDK for Go: it records the intent, calls
// PutApprovalResult once and records the outcome. The flags tune it; without them it uses the defaults of the libraries.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/codepipeline"
	"github.com/aws/aws-sdk-go-v2/service/codepipeline/types"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

// The deadline of a submission is the timeout of the call plus a margin for writing the intent and for clock skew.
const (
	callTimeout    = 10 * time.Second
	deadlineMargin = 10 * time.Second
)

type reconciler struct {
	client.Client
	pipelines *codepipeline.Client
	recorder  events.EventRecorder
}

func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var decision ApprovalDecision
	if err := r.Get(ctx, request.NamespacedName, &decision); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	// A real controller would read the outcome of an interrupted submission from CodePipeline's history. The benchmark does not
	// measure that.
	if decision.Status.Submission != nil {
		return ctrl.Result{}, nil
	}

	now := time.Now().UTC()
	decision.Status.ObservedGeneration = decision.Generation
	decision.Status.Submission = &Submission{
		Attempts:  1,
		StartTime: metav1.NewMicroTime(now),
		Deadline:  metav1.NewMicroTime(now.Add(callTimeout + deadlineMargin)),
		Token:     decision.Spec.Token,
	}
	result := decision.Spec.Result
	setReady(&decision, metav1.ConditionUnknown, "Submitting", fmt.Sprintf("Attempt 1 to submit %s is in flight", result.Status))
	meta.SetStatusCondition(&decision.Status.Conditions, metav1.Condition{
		Type: "Reconciling", Status: metav1.ConditionTrue, ObservedGeneration: decision.Generation,
		Reason: "Submitting", Message: "Submitting the result",
	})
	// The write includes the resourceVersion, so that a stale object causes a conflict before the call.
	if err := r.Status().Update(ctx, &decision); err != nil {
		return ctrl.Result{}, err
	}

	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	output, err := r.pipelines.PutApprovalResult(call, &codepipeline.PutApprovalResultInput{
		PipelineName: aws.String(decision.Spec.PipelineName),
		StageName:    aws.String(decision.Spec.StageName),
		ActionName:   aws.String(decision.Spec.ActionName),
		Token:        aws.String(decision.Spec.Token),
		Result:       &types.ApprovalResult{Status: types.ApprovalStatus(result.Status), Summary: aws.String(result.Summary)},
	})

	meta.RemoveStatusCondition(&decision.Status.Conditions, "Reconciling")
	if err != nil {
		setReady(&decision, metav1.ConditionFalse, "ServiceUnavailable", err.Error())
		r.recorder.Eventf(&decision, nil, corev1.EventTypeWarning, "ServiceUnavailable", "PutApprovalResult", "%s", err.Error())
		return ctrl.Result{}, r.Status().Update(ctx, &decision)
	}
	message := "CodePipeline accepted the result " + result.Status
	if output.ApprovedAt != nil {
		approvedAt := metav1.NewMicroTime(output.ApprovedAt.UTC())
		decision.Status.ApprovedAt = &approvedAt
		message += " at " + approvedAt.Format(time.RFC3339Nano)
	}
	setReady(&decision, metav1.ConditionTrue, "Delivered", message)
	if err := r.Status().Update(ctx, &decision); err != nil {
		return ctrl.Result{}, err
	}
	ctrl.LoggerFrom(ctx).Info("delivered", "approvedAt", decision.Status.ApprovedAt)
	r.recorder.Eventf(&decision, nil, corev1.EventTypeNormal, "Delivered", "PutApprovalResult", "%s", message)
	return ctrl.Result{}, nil
}

func setReady(decision *ApprovalDecision, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&decision.Status.Conditions, metav1.Condition{
		Type: "Ready", Status: status, ObservedGeneration: decision.Generation, Reason: reason, Message: message,
	})
}

func main() {
	concurrency := flag.Int("concurrency", 0, "maximum number of concurrent reconciles; 0 for the default of controller-runtime")
	strip := flag.Bool("strip-managed-fields", false, "strip managedFields from cached objects")
	flag.Parse()
	if err := run(*concurrency, *strip); err != nil {
		fmt.Fprintln(os.Stderr, "controller:", err)
		os.Exit(1)
	}
}

func run(concurrency int, strip bool) error {
	ctrl.SetLogger(zap.New())
	ctx := ctrl.SetupSignalHandler()
	// Without retries, like the operator: a second request could hide the outcome of the first.
	awsConfig, err := config.LoadDefaultConfig(ctx, config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }))
	if err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := schemeBuilder.AddToScheme(scheme); err != nil {
		return err
	}
	options := ctrl.Options{
		Scheme:                 scheme,
		Metrics:                server.Options{BindAddress: "127.0.0.1:0"},
		HealthProbeBindAddress: "127.0.0.1:0",
	}
	if strip {
		options.Cache = cache.Options{DefaultTransform: cache.TransformStripManagedFields()}
	}
	manager, err := ctrl.NewManager(ctrl.GetConfigOrDie(), options)
	if err != nil {
		return err
	}
	err = ctrl.NewControllerManagedBy(manager).
		For(&ApprovalDecision{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WithOptions(controller.Options{MaxConcurrentReconciles: concurrency}).
		Complete(&reconciler{
			Client:    manager.GetClient(),
			pipelines: codepipeline.NewFromConfig(awsConfig),
			recorder:  manager.GetEventRecorder("approval-controller"),
		})
	if err != nil {
		return err
	}
	return manager.Start(ctx)
}
