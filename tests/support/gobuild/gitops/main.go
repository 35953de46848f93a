// The libraries by which GitOps tools judge an object: Argo CD's Lua engine, and kstatus as Flux and kubectl's kin use it.
// Each line of the input is a question, each line of the output its answer.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"github.com/argoproj/argo-cd/v3/util/lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	integers "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

type question struct {
	Kind   string         `json:"kind"`
	Script string         `json:"script"`
	Object map[string]any `json:"object"`
}

type answer struct {
	Value any    `json:"value"`
	Error string `json:"error"`
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(make([]byte, 0, 1<<20), 1<<26)
	output := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		value, err := judge(lines.Bytes())
		found := answer{Value: value}
		if err != nil {
			found = answer{Error: err.Error()}
		}
		if err := output.Encode(found); err != nil {
			panic(err)
		}
	}
}

func judge(line []byte) (any, error) {
	asked := question{}
	object := &unstructured.Unstructured{}
	// Whole numbers stay whole, as those that come from an API server.
	if err := integers.Unmarshal(line, &asked); err != nil {
		return nil, err
	}
	object.Object = asked.Object
	engine := lua.VM{}
	switch asked.Kind {
	case "health":
		return engine.ExecuteHealthLua(object, asked.Script)
	case "discovery":
		return engine.ExecuteResourceActionDiscovery(object, []string{asked.Script})
	case "action":
		changed, err := engine.ExecuteResourceAction(object, asked.Script, nil)
		if err != nil {
			return nil, err
		}
		objects := []any{}
		for _, each := range changed {
			objects = append(objects, each.UnstructuredObj.Object)
		}
		return objects, nil
	case "kstatus":
		return status.Compute(object)
	}
	return nil, fmt.Errorf("unknown question %q", asked.Kind)
}
