package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	lua "github.com/yuin/gopher-lua"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	luajson "layeh.com/gopher-json"
	"sigs.k8s.io/yaml"
)

type argoHealth struct {
	Status  string `json:"status"`
	Message string `json:"message,omitempty"`
}

// The data of Argo CD's ConfigMap argocd-cm.
type argo struct {
	data map[string]string
}

func newArgo(path string) (argo, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return argo{}, err
	}
	var configMap corev1.ConfigMap
	if err := yaml.UnmarshalStrict(text, &configMap); err != nil {
		return argo{}, err
	}
	return argo{configMap.Data}, nil
}

// Does what VM.ExecuteHealthLua in util/lua/lua.go of Argo CD 3.5 does, because the module is too large to depend on: the
// same version of the same interpreter, only the standard libraries package, base and table, a time limit of one second,
// the object as the global obj, and a table as the result. Argo CD also has os.time and os.date; a check that uses them
// fails here.
func (a argo) health(object *unstructured.Unstructured) (argoHealth, error) {
	kind := object.GroupVersionKind().GroupKind()
	key := fmt.Sprintf("resource.customizations.health.%s_%s", kind.Group, kind.Kind)
	script, ok := a.data[key]
	if !ok {
		return argoHealth{}, fmt.Errorf("no key %s in the ConfigMap", key)
	}
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for _, library := range []struct {
		name string
		open lua.LGFunction
	}{
		{lua.LoadLibName, lua.OpenPackage},
		{lua.BaseLibName, lua.OpenBase},
		{lua.TabLibName, lua.OpenTable},
	} {
		call := lua.P{Fn: state.NewFunction(library.open), Protect: true}
		if err := state.CallByParam(call, lua.LString(library.name)); err != nil {
			return argoHealth{}, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	state.SetContext(ctx)
	state.SetGlobal("obj", luaValue(state, object.Object))
	if err := state.DoString(script); err != nil {
		return argoHealth{}, err
	}
	text, err := luajson.Encode(state.Get(-1))
	if err != nil {
		return argoHealth{}, err
	}
	var health argoHealth
	if err := json.Unmarshal(text, &health); err != nil {
		return argoHealth{}, fmt.Errorf("the health check returned %s: %w", text, err)
	}
	if !slices.Contains([]string{"Healthy", "Suspended", "Progressing", "Degraded"}, health.Status) {
		return argoHealth{}, fmt.Errorf("the health check returned %s", text)
	}
	return health, nil
}

func luaValue(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case bool:
		return lua.LBool(value)
	case string:
		return lua.LString(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	case []any:
		table := state.CreateTable(len(value), 0)
		for _, item := range value {
			table.Append(luaValue(state, item))
		}
		return table
	case map[string]any:
		table := state.CreateTable(0, len(value))
		for key, item := range value {
			table.RawSetH(lua.LString(key), luaValue(state, item))
		}
		return table
	default:
		return lua.LNil
	}
}
