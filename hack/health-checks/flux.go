package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling/engine"
	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// The status reader that kustomize-controller builds from a Kustomization's healthCheckExprs.
type flux struct {
	reader engine.StatusReader
}

// Reads the first Kustomization in a file with several documents.
func newFlux(path string) (flux, error) {
	file, err := os.Open(path)
	if err != nil {
		return flux{}, err
	}
	defer file.Close()
	documents := yaml.NewYAMLOrJSONDecoder(file, 4096)
	for {
		var document struct {
			Kind string `json:"kind"`
			Spec struct {
				HealthCheckExprs []kustomize.CustomHealthCheck `json:"healthCheckExprs"`
			} `json:"spec"`
		}
		if err := documents.Decode(&document); errors.Is(err, io.EOF) {
			return flux{}, errors.New("no Kustomization in the file")
		} else if err != nil {
			return flux{}, err
		}
		if document.Kind != "Kustomization" {
			continue
		}
		newReader, err := cel.NewStatusReader(document.Spec.HealthCheckExprs)
		if err != nil {
			return flux{}, err
		}
		// The expressions only read the object, so neither the mapper nor, below, the cluster reader is used.
		return flux{newReader(nil)}, nil
	}
}

// Returns the status with the expressions, and without them.
func (f flux) status(object *unstructured.Unstructured) (string, string, error) {
	if kind := object.GroupVersionKind().GroupKind(); !f.reader.Supports(kind) {
		return "", "", fmt.Errorf("no health check expressions for %s", kind)
	}
	read, err := f.reader.ReadStatusForObject(context.Background(), nil, object)
	if err != nil {
		return "", "", err
	}
	if read.Error != nil {
		return "", "", read.Error
	}
	plain, err := status.Compute(object)
	if err != nil {
		return "", "", err
	}
	return string(read.Status), string(plain.Status), nil
}
