// Program health-checks reports the health that Argo CD and Flux show for objects. It runs the health checks of
// examples/gitops with the evaluators of these tools, so that the tests do not need the tools themselves.
//
// Usage: health-checks argocd-cm.yaml flux-kustomization.yaml <objects.json
//
// For each JSON object on stdin it writes one line:
//
//	{"argo":{"status":"Healthy","message":"…"},"flux":"Current","kstatus":"Current"}
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type verdict struct {
	Argo argoHealth `json:"argo"`
	// With the health check expressions.
	Flux string `json:"flux"`
	// Without them.
	Kstatus string `json:"kstatus"`
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: health-checks argocd-cm.yaml flux-kustomization.yaml <objects.json")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "health-checks:", err)
		os.Exit(1)
	}
}

func run(configMap, kustomization string) error {
	argo, err := newArgo(configMap)
	if err != nil {
		return fmt.Errorf("%s: %w", configMap, err)
	}
	flux, err := newFlux(kustomization)
	if err != nil {
		return fmt.Errorf("%s: %w", kustomization, err)
	}
	input, output := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		// Decoded as the Kubernetes client does: the evaluators rely on integers being int64.
		var object unstructured.Unstructured
		if err := input.Decode(&object); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var v verdict
		if v.Argo, err = argo.health(&object); err != nil {
			return err
		}
		if v.Flux, v.Kstatus, err = flux.status(&object); err != nil {
			return err
		}
		if err := output.Encode(v); err != nil {
			return err
		}
	}
}
