// Command kstatus says what kstatus makes of objects: it reads a JSON array of them, and writes a JSON array with the
// status and the message of each, in the same order.
package main

import (
	"encoding/json"
	"log"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

type verdict struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

func main() {
	log.SetFlags(0)
	var bodies []json.RawMessage
	if err := json.NewDecoder(os.Stdin).Decode(&bodies); err != nil {
		log.Fatal(err)
	}
	verdicts := make([]verdict, 0, len(bodies))
	for _, body := range bodies {
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(body); err != nil {
			log.Fatal(err)
		}
		result, err := status.Compute(object)
		if err != nil {
			log.Fatal(err)
		}
		verdicts = append(verdicts, verdict{result.Status.String(), result.Message})
	}
	if err := json.NewEncoder(os.Stdout).Encode(verdicts); err != nil {
		log.Fatal(err)
	}
}
