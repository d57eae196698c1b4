// Package charts renders what an operator deploys Weir with (configs/helm, configs/kustomize, configs/compose) by the very
// libraries that helm, kubectl and docker compose are made of, and decodes each object strictly into the types of its API.
//
// It is a module of its own, so that none of them is a part of Weir.
package charts

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const configs = "../../configs"

// chartFiles returns the chart as make chart packs it: with alerts and dashboards in it.
func loadChart(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.Load(filepath.Join(configs, "helm/weir"))
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"prometheus/*.rules.yaml", "grafana/*.json"} {
		names, err := filepath.Glob(filepath.Join(configs, pattern))
		if err != nil || len(names) == 0 {
			t.Fatalf("no %s: %v", pattern, err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			rel, err := filepath.Rel(configs, name)
			if err != nil {
				t.Fatal(err)
			}
			c.Files = append(c.Files, &chart.File{Name: "files/" + filepath.ToSlash(rel), Data: text})
		}
	}
	return c
}

// render returns what helm template prints for some values, or why it refuses them.
func render(t *testing.T, values string) (string, error) {
	t.Helper()
	given, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		t.Fatal(err)
	}
	install := action.NewInstall(new(action.Configuration))
	install.DryRun, install.ClientOnly = true, true
	install.ReleaseName, install.Namespace = "weir", "moderation"
	install.KubeVersion = &chartutil.KubeVersion{Version: "v1.31.0", Major: "1", Minor: "31"}
	r, err := install.Run(loadChart(t), given)
	if err != nil {
		return "", err
	}
	return r.Manifest, nil
}

// scaled is KEDA's ScaledObject, as far as the chart uses it.
type scaled struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Meta       map[string]any `json:"metadata"`
	Spec       struct {
		ScaleTargetRef struct {
			Kind string `json:"kind"`
			Name string `json:"name"`
		} `json:"scaleTargetRef"`
		MinReplicaCount int `json:"minReplicaCount"`
		MaxReplicaCount int `json:"maxReplicaCount"`
		CooldownPeriod  int `json:"cooldownPeriod"`
		Triggers        []struct {
			Type              string            `json:"type"`
			Metadata          map[string]string `json:"metadata"`
			AuthenticationRef struct {
				Name string `json:"name"`
			} `json:"authenticationRef"`
		} `json:"triggers"`
	} `json:"spec"`
}

// decode reads objects strictly: a field that the API does not know, or a name twice, is a fault. It returns them by kind.
func decode(t *testing.T, manifest string) map[string][]any {
	t.Helper()
	kinds := map[string]func() any{
		"v1/ConfigMap":                            func() any { return new(core.ConfigMap) },
		"v1/Service":                              func() any { return new(core.Service) },
		"v1/ServiceAccount":                       func() any { return new(core.ServiceAccount) },
		"apps/v1/StatefulSet":                     func() any { return new(apps.StatefulSet) },
		"policy/v1/PodDisruptionBudget":           func() any { return new(policy.PodDisruptionBudget) },
		"networking.k8s.io/v1/NetworkPolicy":      func() any { return new(networking.NetworkPolicy) },
		"autoscaling/v2/HorizontalPodAutoscaler":  func() any { return new(autoscaling.HorizontalPodAutoscaler) },
		"monitoring.coreos.com/v1/ServiceMonitor": func() any { return new(monitoring.ServiceMonitor) },
		"monitoring.coreos.com/v1/PrometheusRule": func() any { return new(monitoring.PrometheusRule) },
		"keda.sh/v1alpha1/ScaledObject":           func() any { return new(scaled) },
	}
	objects := make(map[string][]any)
	for doc := range strings.SplitSeq("\n"+manifest, "\n---") {
		var head struct{ APIVersion, Kind string }
		if err := yaml.Unmarshal([]byte(doc), &head); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		if head.Kind == "" {
			continue // comments
		}
		name := head.APIVersion + "/" + head.Kind
		make, ok := kinds[name]
		if !ok {
			t.Fatalf("an object of kind %s, which nothing here can check", name)
		}
		object := make()
		if err := yaml.UnmarshalStrict([]byte(doc), object); err != nil {
			t.Errorf("%s: %v in\n%s", name, err, doc)
		}
		objects[head.Kind] = append(objects[head.Kind], object)
	}
	return objects
}

// restricted checks a pod against what Kubernetes calls the restricted profile, and what Weir needs to be there again.
func restricted(t *testing.T, objects map[string][]any) {
	t.Helper()
	if len(objects["StatefulSet"]) != 1 {
		t.Fatalf("%d StatefulSets, want one", len(objects["StatefulSet"]))
	}
	s := objects["StatefulSet"][0].(*apps.StatefulSet)
	p, c := s.Spec.Template.Spec, s.Spec.Template.Spec.Containers[0]
	on := func(b *bool) bool { return b != nil && *b }
	off := func(b *bool) bool { return b != nil && !*b }
	for _, want := range []struct {
		what string
		ok   bool
	}{
		{"non-root", on(p.SecurityContext.RunAsNonRoot) && *p.SecurityContext.RunAsUser == 65532},
		{"seccomp", p.SecurityContext.SeccompProfile.Type == core.SeccompProfileTypeRuntimeDefault},
		{"no token of the API", off(p.AutomountServiceAccountToken)},
		{"read-only root", on(c.SecurityContext.ReadOnlyRootFilesystem)},
		{"no privilege escalation", off(c.SecurityContext.AllowPrivilegeEscalation)},
		{"no capabilities", slices.Equal(c.SecurityContext.Capabilities.Drop, []core.Capability{"ALL"}) && c.SecurityContext.Capabilities.Add == nil},
		{"three probes", c.StartupProbe != nil && c.LivenessProbe != nil && c.ReadinessProbe != nil},
		{"a memory limit", !c.Resources.Limits.Memory().IsZero()},
		{"a name by pod", c.Env[0].Name == "WEIR_INSTANCE" && c.Env[0].ValueFrom.FieldRef.FieldPath == "metadata.name"},
		{"a disk by instance", len(s.Spec.VolumeClaimTemplates) == 1},
		{"that stays", s.Spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted == apps.RetainPersistentVolumeClaimRetentionPolicyType},
		{"a selector of its own pods", len(s.Spec.Selector.MatchLabels) > 0},
	} {
		if !want.ok {
			t.Errorf("the pod lacks: %s", want.what)
		}
	}
	for name, value := range s.Spec.Selector.MatchLabels {
		if s.Spec.Template.Labels[name] != value {
			t.Errorf("the StatefulSet selects %s=%s, its pods do not have it", name, value)
		}
	}
}

// The chart has no fault that helm lint --strict finds.
func TestChartLint(t *testing.T) {
	version := &chartutil.KubeVersion{Version: "v1.31.0", Major: "1", Minor: "31"}
	for _, m := range lint.AllWithKubeVersion(filepath.Join(configs, "helm/weir"), nil, "moderation", version).Messages {
		if m.Severity >= support.WarningSev {
			t.Error(m)
		}
	}
}

// With its defaults, with all that can be turned on, and with another way to scale, the chart renders to objects whose APIs know
// every field of them, and to pods that may do next to nothing.
func TestChart(t *testing.T) {
	count := func(objects map[string][]any) string {
		var list []string
		for kind, all := range objects {
			list = append(list, fmt.Sprintf("%d %s", len(all), kind))
		}
		slices.Sort(list)
		return strings.Join(list, ", ")
	}
	for name, want := range map[string]string{
		"":                "1 ConfigMap, 1 NetworkPolicy, 1 PodDisruptionBudget, 1 Service, 1 ServiceAccount, 1 StatefulSet",
		"everything.yaml": "1 NetworkPolicy, 1 PodDisruptionBudget, 1 ScaledObject, 2 Service, 1 ServiceAccount, 1 ServiceMonitor, 1 StatefulSet, ALERTS PrometheusRule, BOARDS ConfigMap",
		"hpa.yaml":        "1 ConfigMap, 1 HorizontalPodAutoscaler, 1 Service, 1 ServiceAccount, 1 StatefulSet",
	} {
		t.Run("values "+name, func(t *testing.T) {
			var values []byte
			if name != "" {
				var err error
				if values, err = os.ReadFile(filepath.Join(configs, "helm/weir/ci", name)); err != nil {
					t.Fatal(err)
				}
			}
			manifest, err := render(t, string(values))
			if err != nil {
				t.Fatal(err)
			}
			objects := decode(t, manifest)
			restricted(t, objects)
			alerts, _ := filepath.Glob(configs + "/prometheus/*.rules.yaml")
			boards, _ := filepath.Glob(configs + "/grafana/*.json")
			want := strings.NewReplacer("ALERTS", fmt.Sprint(len(alerts)), "BOARDS", fmt.Sprint(len(boards)+1)).Replace(want)
			got := strings.Split(count(objects), ", ")
			wanted := strings.Split(want, ", ")
			slices.Sort(got)
			slices.Sort(wanted)
			if !slices.Equal(got, wanted) {
				t.Errorf("rendered %v, want %v", got, wanted)
			}
			if s := objects["StatefulSet"][0].(*apps.StatefulSet); (s.Spec.Replicas == nil) != (name != "") {
				t.Error("replicas are set where something else scales, or not where nothing does")
			}
		})
	}
}

// A secret in the values, a name that is not known, a disk that two pods share and the like are refused before anything is deployed.
func TestChartRefuses(t *testing.T) {
	for name, c := range map[string]struct{ values, want string }{
		"a typing error":        {"replica: 3", "replica"},
		"a password of Kafka":   {"config: {kafka: {sasl: {password: hunter2}}}", "config/kafka/sasl/password"},
		"a password of Redis":   {"config: {push: {redis: {password: hunter2}}}", "config/push/redis/password"},
		"an instance":           {`config: {instance: "0"}`, "config/instance"},
		"another directory":     {"config: {evidence: {dir: /tmp}}", "config/evidence/dir"},
		"a shared disk":         {"persistence: {accessModes: [ReadWriteMany]}", "accessModes"},
		"a port of the system":  {"admin: {port: 80}", "admin/port"},
		"such a port to ask at": {"api: {port: 80}", "api/port"},
		"an upside-down range":  {"autoscaling: {enabled: true, minReplicas: 9}", "greater than maxReplicas"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := render(t, c.values)
			if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), ".", "/"), c.want) && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %s in it", err, c.want)
			}
		})
	}
}

func kustomized(t *testing.T, dir string) map[string][]any {
	t.Helper()
	m, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(configs, "kustomize", dir))
	if err != nil {
		t.Fatal(err)
	}
	text, err := m.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, string(text))
}

// The plain manifests are fit to apply, too, and start the same pods as the chart.
func TestKustomize(t *testing.T) {
	base, example := kustomized(t, "base"), kustomized(t, "example")
	restricted(t, base)
	restricted(t, example)
	s := example["StatefulSet"][0].(*apps.StatefulSet)
	if s.Namespace != "moderation" || *s.Spec.Replicas != 3 || s.Spec.Template.Spec.Containers[0].Image != "registry.example.org/weir:0.1.0" {
		t.Errorf("the overlay is not in what it makes: %s, %d, %s", s.Namespace, *s.Spec.Replicas, s.Spec.Template.Spec.Containers[0].Image)
	}
	if m := example["ConfigMap"][0].(*core.ConfigMap); !strings.Contains(m.Data["weir.yaml"], "kafka-1.kafka:9092") || s.Spec.Template.Spec.Volumes[0].ConfigMap.Name != m.Name {
		t.Error("the overlay's configuration is not what the pods read")
	}

	manifest, err := render(t, "")
	if err != nil {
		t.Fatal(err)
	}
	chart := decode(t, manifest)
	pod := func(objects map[string][]any) string {
		s := objects["StatefulSet"][0].(*apps.StatefulSet).DeepCopy()
		p := s.Spec.Template.Spec
		p.Containers[0].Image = ""
		p.Volumes = nil // the name of the configuration has a digest in one of them
		text, err := yaml.Marshal([]any{p, s.Spec.VolumeClaimTemplates[0].Spec, s.Spec.PodManagementPolicy, s.Spec.PersistentVolumeClaimRetentionPolicy})
		if err != nil {
			t.Fatal(err)
		}
		return string(bytes.TrimSpace(text))
	}
	if c, k := pod(chart), pod(base); c != k {
		t.Errorf("helm starts\n%s\nkustomize starts\n%s", c, k)
	}
	for kind := range chart {
		if len(base[kind]) != len(chart[kind]) {
			t.Errorf("helm makes %d %s, kustomize %d", len(chart[kind]), kind, len(base[kind]))
		}
	}
}

// The compose file is one by the schema of the specification, starts what it says in order, and what it mounts is there.
func TestCompose(t *testing.T) {
	o, err := cli.NewProjectOptions([]string{filepath.Join(configs, "compose/compose.yaml")}, cli.WithResolvedPaths(true))
	if err != nil {
		t.Fatal(err)
	}
	p, err := o.LoadProject(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kafka", "redis", "prometheus", "weir"} {
		s, ok := p.Services[name]
		if !ok {
			t.Errorf("no service %s", name)
		}
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s listens on %q:%s; what has no password belongs on loopback", name, port.HostIP, port.Published)
			}
		}
		for _, v := range s.Volumes {
			if v.Type == "bind" {
				if _, err := os.Stat(v.Source); err != nil {
					t.Errorf("%s mounts %v", name, err)
				}
			}
		}
	}
	if w := p.Services["weir"]; !w.ReadOnly || !slices.Equal(w.CapDrop, []string{"ALL"}) {
		t.Error("weir may do more than it needs")
	}
}
