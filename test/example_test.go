package test

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// The example's policy is what a careful user would have: nothing odd about it, all its decisions tested, in its one form.
func TestTheExamplesPolicyIsInOrder(t *testing.T) {
	dir := filepath.Join(example(t), "policy.d")
	for _, args := range [][]string{{"check", "--strict", dir}, {"test", dir}, {"fmt", "--check", dir}} {
		if said, err := exec.CommandContext(t.Context(), binary, append([]string{"policy"}, args...)...).CombinedOutput(); err != nil {
			t.Errorf("policy %v: %v\n%s", args, err, said)
		}
	}
}
