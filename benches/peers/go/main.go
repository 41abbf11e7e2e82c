// Command controller answers ApprovalDecisions as a controller of controller-runtime with the AWS SDK for Go would: intent,
// one call, result. What the flags change is how it is tuned; without them it is as the libraries come.
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

// How long an attempt may take, with the time for its intent and a margin for clocks.
const (
	callTimeout = 10 * time.Second
	margin      = 10 * time.Second
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
	// What became of an attempt that was cut off would have to be read from the service's record. Nothing of it is measured.
	if decision.Status.Submission != nil {
		return ctrl.Result{}, nil
	}

	now := time.Now().UTC()
	decision.Status.ObservedGeneration = decision.Generation
	decision.Status.Submission = &Submission{
		Attempts:  1,
		StartTime: metav1.NewMicroTime(now),
		Deadline:  metav1.NewMicroTime(now.Add(callTimeout + margin)),
		Token:     decision.Spec.Token,
	}
	answer := decision.Spec.Result
	ready(&decision, metav1.ConditionUnknown, "Submitting", fmt.Sprintf("Attempt 1 at answering %s is under way", answer.Status))
	meta.SetStatusCondition(&decision.Status.Conditions, metav1.Condition{
		Type: "Reconciling", Status: metav1.ConditionTrue, ObservedGeneration: decision.Generation,
		Reason: "Submitting", Message: "The answer is being sent",
	})
	// The object carries its resourceVersion: whoever works from an older one is told by a conflict, before anything is sent.
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
		Result:       &types.ApprovalResult{Status: types.ApprovalStatus(answer.Status), Summary: aws.String(answer.Summary)},
	})

	meta.RemoveStatusCondition(&decision.Status.Conditions, "Reconciling")
	if err != nil {
		ready(&decision, metav1.ConditionFalse, "ServiceUnavailable", err.Error())
		r.recorder.Eventf(&decision, nil, corev1.EventTypeWarning, "ServiceUnavailable", "PutApprovalResult", "%s", err.Error())
		return ctrl.Result{}, r.Status().Update(ctx, &decision)
	}
	message := "CodePipeline took the answer " + answer.Status
	if output.ApprovedAt != nil {
		at := metav1.NewMicroTime(output.ApprovedAt.UTC())
		decision.Status.ApprovedAt = &at
		message += " at " + at.Format(time.RFC3339Nano)
	}
	ready(&decision, metav1.ConditionTrue, "Delivered", message)
	if err := r.Status().Update(ctx, &decision); err != nil {
		return ctrl.Result{}, err
	}
	ctrl.LoggerFrom(ctx).Info("delivered", "approvedAt", decision.Status.ApprovedAt)
	r.recorder.Eventf(&decision, nil, corev1.EventTypeNormal, "Delivered", "PutApprovalResult", "%s", message)
	return ctrl.Result{}, nil
}

func ready(decision *ApprovalDecision, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&decision.Status.Conditions, metav1.Condition{
		Type: "Ready", Status: status, ObservedGeneration: decision.Generation, Reason: reason, Message: message,
	})
}

func main() {
	concurrency := flag.Int("concurrency", 0, "rounds at a time; 0 for what controller-runtime comes with")
	strip := flag.Bool("strip-managed-fields", false, "keep managedFields out of the cache")
	flag.Parse()
	if err := run(*concurrency, *strip); err != nil {
		fmt.Fprintln(os.Stderr, "controller:", err)
		os.Exit(1)
	}
}

func run(concurrency int, strip bool) error {
	ctrl.SetLogger(zap.New())
	ctx := ctrl.SetupSignalHandler()
	// As the operator has it: a second POST could hide what became of the first.
	amazon, err := config.LoadDefaultConfig(ctx, config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }))
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
			pipelines: codepipeline.NewFromConfig(amazon),
			recorder:  manager.GetEventRecorder("approval-controller"),
		})
	if err != nil {
		return err
	}
	return manager.Start(ctx)
}
