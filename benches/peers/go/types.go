// The fields of an ApprovalDecision that the controller reads and writes, and the deep copies that controller-gen would generate.
package main

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/scheme"
)

var schemeBuilder = &scheme.Builder{GroupVersion: schema.GroupVersion{Group: "codepipeline.approvals.dev", Version: "v1alpha1"}}

func init() {
	schemeBuilder.Register(&ApprovalDecision{}, &ApprovalDecisionList{})
}

// ApprovalDecision is one result for one manual approval.
type ApprovalDecision struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   ApprovalDecisionSpec   `json:"spec"`
	Status ApprovalDecisionStatus `json:"status,omitempty"`
}

// ApprovalDecisionSpec names the approval and the result.
type ApprovalDecisionSpec struct {
	PipelineName string         `json:"pipelineName"`
	StageName    string         `json:"stageName"`
	ActionName   string         `json:"actionName"`
	Token        string         `json:"token,omitempty"`
	Result       ApprovalResult `json:"result"`
}

// ApprovalResult is what PutApprovalResult submits.
type ApprovalResult struct {
	Status  string `json:"status"`
	Summary string `json:"summary"`
}

// ApprovalDecisionStatus is the outcome.
type ApprovalDecisionStatus struct {
	ObservedGeneration int64              `json:"observedGeneration,omitempty"`
	Conditions         []metav1.Condition `json:"conditions,omitempty"`
	ApprovedAt         *metav1.MicroTime  `json:"approvedAt,omitempty"`
	Submission         *Submission        `json:"submission,omitempty"`
}

// Submission is the intent, written before the call.
type Submission struct {
	Attempts  int64            `json:"attempts"`
	StartTime metav1.MicroTime `json:"startTime"`
	Deadline  metav1.MicroTime `json:"deadline"`
	Token     string           `json:"token"`
}

// ApprovalDecisionList is a list of ApprovalDecisions.
type ApprovalDecisionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ApprovalDecision `json:"items"`
}

// DeepCopyInto copies the receiver.
func (in *ApprovalDecision) DeepCopyInto(out *ApprovalDecision) {
	*out = *in
	in.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	in.Status.DeepCopyInto(&out.Status)
}

// DeepCopyObject copies the receiver.
func (in *ApprovalDecision) DeepCopyObject() runtime.Object {
	out := new(ApprovalDecision)
	in.DeepCopyInto(out)
	return out
}

// DeepCopyInto copies the receiver.
func (in *ApprovalDecisionStatus) DeepCopyInto(out *ApprovalDecisionStatus) {
	*out = *in
	if in.Conditions != nil {
		out.Conditions = make([]metav1.Condition, len(in.Conditions))
		for i := range in.Conditions {
			in.Conditions[i].DeepCopyInto(&out.Conditions[i])
		}
	}
	out.ApprovedAt = in.ApprovedAt.DeepCopy()
	if in.Submission != nil {
		submission := *in.Submission
		out.Submission = &submission
	}
}

// DeepCopyObject copies the receiver.
func (in *ApprovalDecisionList) DeepCopyObject() runtime.Object {
	out := *in
	in.ListMeta.DeepCopyInto(&out.ListMeta)
	out.Items = make([]ApprovalDecision, len(in.Items))
	for i := range in.Items {
		in.Items[i].DeepCopyInto(&out.Items[i])
	}
	return &out
}
