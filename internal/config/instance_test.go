package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-moderation/weir/configs"
	"github.com/weir-moderation/weir/internal/config"
)

// Processes that share a file have names of their own by WEIR_INSTANCE, and one that is no name is refused.
func TestInstanceOfTheEnvironment(t *testing.T) {
	src, err := configs.FS.ReadFile("weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "weir.yaml")
	if err := os.WriteFile(file, src, 0o600); err != nil {
		t.Fatal(err)
	}
	for env, want := range map[string]string{"": "0", "weir-3": "weir-3"} {
		t.Setenv("WEIR_INSTANCE", env)
		if c, err := config.Load(file); err != nil || c.Instance != want {
			t.Errorf("with %q: %v, %v; want instance %s", env, c, err, want)
		}
	}
	t.Setenv("WEIR_INSTANCE", "Weir 3")
	if _, err := config.Load(file); err == nil || !strings.Contains(err.Error(), "WEIR_INSTANCE: not a name; use") {
		t.Errorf("error %v", err)
	}
}
