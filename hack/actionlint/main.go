// Checks the workflows in .github/workflows, as `make lint` does. It is the program actionlint: this module pins its version and
// builds it with the script that builds the other programs in Go.
package main

import (
	"os"

	"github.com/rhysd/actionlint"
)

func main() {
	command := actionlint.Command{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	os.Exit(command.Main(os.Args))
}
