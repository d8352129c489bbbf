package server

import (
	"fmt"
	"os"
)

// terminationLog is the file whose text Kubernetes shows as the message of an ended container. The
// kubelet makes it. Elsewhere there is none, and nothing is written.
const terminationLog = "/dev/termination-log"

// lastWords leaves text in file, if it exists.
func lastWords(file, text string) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return
	}
	_, _ = fmt.Fprintln(f, text)
	_ = f.Close()
}
