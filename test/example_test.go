package test

import (
	"os"
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

// Each switch of the example, with and without Lua of the user's own, makes a configuration that HAProxy accepts without a warning.
func TestEachSwitchOfTheExampleHasNoWarnings(t *testing.T) {
	const ownLua = "core.register_fetches(\"one\", function() return 1 end)\n"
	const ownBase = minimalOwn + `.if version_atleast(3.1)
    tune.lua.bool-sample-conversion pre-3.1-bug
.endif
    lua-load own.lua
`
	onEach(t, haproxySeries(), func(t *testing.T, haproxy string) {
		for _, tt := range []struct {
			name, base string
			env        []string
		}{
			{"no filter", minimalOwn, []string{"VERTEX_LUA=/nowhere"}},
			{"the log and no filter", minimalOwn, []string{"VERTEX_CLOSING_LOG=127.0.0.1:9022", "VERTEX_USAGE=off", "VERTEX_LUA=/nowhere"}},
			{"the filter and no log", minimalOwn, []string{"VERTEX_USAGE=on"}},
			{"the log by datagrams", minimalOwn, []string{"VERTEX_CLOSING_LOG=unix@/run/vertex-spoa/log.sock"}},
			{"the log by UDP", minimalOwn, []string{"VERTEX_CLOSING_LOG=127.0.0.1:9022"}},
			{"the log by a ring over TCP", minimalOwn, []string{"VERTEX_CLOSING_RING=127.0.0.1:9022"}},
			{"the log by a ring over a unix socket", minimalOwn, []string{"VERTEX_CLOSING_RING=unix@/run/vertex-spoa/log.sock"}},
			{"every answer told", minimalOwn, []string{"VERTEX_RESPONSES=all", "VERTEX_RESPONSE_TIMEOUT=20ms"}},
			{"other Lua", ownBase, []string{"VERTEX_USAGE=on", "VERTEX_OTHER_LUA=1"}},
			{"other Lua and no filter", ownBase, nil},
		} {
			t.Run(tt.name, func(t *testing.T) {
				dir := t.TempDir()
				for name, text := range map[string]string{"haproxy.cfg": tt.base, "own.lua": ownLua} {
					if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				cmd := exec.CommandContext(t.Context(), haproxy, "-c", "-f", "haproxy.cfg", "-f", filepath.Join(example(t), "vertex.cfg"))
				cmd.Dir = dir
				cmd.Env = append(os.Environ(), "VERTEX_PLAIN_BIND="+freeAddr(t), "VERTEX_SPOE="+filepath.Join(example(t), "vertex-spoe.conf"),
					"VERTEX_LUA="+filepath.Join(example(t), "vertex-usage.lua"))
				cmd.Env = append(cmd.Env, tt.env...)
				said, err := cmd.CombinedOutput()
				if bad := complaints(string(said)); err != nil || bad != "" {
					t.Errorf("haproxy -c: %v\n%s", err, said)
				}
			})
		}
	})
}

// minimalOwn is a configuration of the user's own.
const minimalOwn = "global\n    log stdout format raw local0\n"
