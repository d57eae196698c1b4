package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The tests need a real Weir with traffic, which weir demo is, and real
// Prometheus servers that scrape it. All are processes of their own, on the
// loopback address, and end with the tests.

const prom = "../../configs/prometheus" // where the alerts are

// world is a Weir with traffic.
type world struct{ address string }

// demo builds Weir once and lets it show itself until the tests end.
var demo = sync.OnceValues(func() (*world, error) {
	bin := filepath.Join(scratch, "weir")
	if out, err := exec.Command("go", "-C", "../..", "build", "-o", bin, "./cmd/weir").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build weir: %w\n%s", err, out)
	}
	at, err := begin([]*regexp.Regexp{regexp.MustCompile(`admin +http://([^/\s]+)`), regexp.MustCompile(`api +(http://\S+)`)}, bin, "demo", "--rate", "200", "--duration", "10m")
	if err != nil {
		return nil, err
	}
	go ask(at[1])
	return &world{at[0]}, ready("http://" + at[0] + "/-/ready")
})

// ask asks for a verdict now and then, until the demo ends.
func ask(url string) {
	for i := 0; ; i++ {
		body := fmt.Sprintf(`{"id":"asked-%d","time":%q,"user":{"id":"asker"},"fields":{"text":"is this all right?"}}`, i, time.Now().UTC().Format(time.RFC3339))
		resp, err := http.Post(url, "application/json", strings.NewReader(body))
		if err != nil {
			return
		}
		resp.Body.Close()
		time.Sleep(50 * time.Millisecond) // a pace, not for an effect
	}
}

// ready waits until Weir has partitions to read, or Prometheus answers.
func ready(url string) error {
	var last error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		resp, err := http.Get(url)
		if err != nil {
			last = err
			continue
		}
		resp.Body.Close()
		if last = fmt.Errorf("%s", resp.Status); resp.StatusCode == http.StatusOK {
			return nil
		}
	}
	return fmt.Errorf("ask %s for a minute: %w", url, last)
}

var (
	scratch string     // a directory of this run
	running []*process // what TestMain ends
)

type process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if scratch, err = os.MkdirTemp("", "weir-dashboards-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		for _, p := range running {
			_ = p.cmd.Process.Signal(os.Interrupt)
			select {
			case <-p.done:
			case <-time.After(20 * time.Second):
				_ = p.cmd.Process.Kill()
				<-p.done
			}
		}
		_ = os.RemoveAll(scratch)
	}()
	return m.Run()
}

// begin starts a program and returns what each pattern finds in its output: the
// addresses it listens on, which it chose itself.
func begin(addresses []*regexp.Regexp, name string, args ...string) ([]string, error) {
	out, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(name, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = w, w
	err = p.cmd.Start()
	w.Close()
	if err != nil {
		return nil, err
	}
	running = append(running, p)
	found, said := make(chan []string, 1), new(strings.Builder)
	go func() {
		lines := bufio.NewScanner(out)
		at, missing := make([]string, len(addresses)), len(addresses)
		for lines.Scan() {
			for i, address := range addresses {
				if m := address.FindStringSubmatch(lines.Text()); m != nil && at[i] == "" {
					at[i] = m[1]
					if missing--; missing == 0 {
						found <- at
					}
				}
			}
			if said.Len() < 1<<16 {
				fmt.Fprintln(said, lines.Text())
			}
		}
		_, _ = io.Copy(io.Discard, out) // a line too long for the scanner
		_ = p.cmd.Wait()
		close(p.done)
	}()
	select {
	case a := <-found:
		return a, nil
	case <-p.done:
		return nil, fmt.Errorf("%s ended before it listened:\n%s", filepath.Base(name), said)
	case <-time.After(time.Minute):
		return nil, fmt.Errorf("%s did not say within a minute where it listens", filepath.Base(name))
	}
}

// server is a Prometheus that scrapes the demo each second and computes alerts
// and recording rules as often.
type server struct{ address string }

// prometheusWith starts one with flags.
func prometheusWith(t *testing.T, w *world, flags ...string) *server {
	t.Helper()
	dir, err := os.MkdirTemp(scratch, "prometheus-")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(prom + "/*.rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// Nobody waits a minute for what is recorded once a minute.
		text = bytes.ReplaceAll(text, []byte("    interval: 1m\n"), nil)
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := fmt.Sprintf(`global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [%q]
scrape_configs:
  - job_name: weir
    static_configs: [{targets: [%q]}]
`, filepath.Join(dir, "*.rules.yaml"), w.address)
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"--config.file", file, "--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", "127.0.0.1:0"}, flags...)
	at, err := begin([]*regexp.Regexp{regexp.MustCompile(`"?Listening on"? address=(\S+)`)}, "prometheus", args...)
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatal("prometheus is not installed (Debian: apt-get install prometheus); without it nothing here is shown")
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := ready("http://" + at[0] + "/-/ready"); err != nil {
		t.Fatal(err)
	}
	return &server{at[0]}
}

// sample is a series and its value now.
type sample struct {
	labels map[string]string
	value  string
}

func (s sample) finite() bool {
	f, err := strconv.ParseFloat(s.value, 64)
	return s.value == "histogram" || err == nil && f-f == 0
}

// query asks for an expression as of now.
func (s *server) query(ctx context.Context, expr string) ([]sample, error) {
	var answer struct {
		Result []struct {
			Metric    map[string]string `json:"metric"`
			Value     []any             `json:"value"`
			Histogram []any             `json:"histogram"`
		} `json:"result"`
		Type string `json:"resultType"`
	}
	if err := s.get(ctx, "query?"+url.Values{"query": {expr}}.Encode(), &answer); err != nil {
		return nil, fmt.Errorf("%s: %w", expr, err)
	}
	if answer.Type != "vector" {
		return nil, fmt.Errorf("%s: a %s; panels and alerts want a vector", expr, answer.Type)
	}
	var list []sample
	for _, r := range answer.Result {
		one := sample{labels: r.Metric, value: "histogram"}
		if len(r.Value) == 2 {
			one.value = fmt.Sprint(r.Value[1])
		}
		list = append(list, one)
	}
	return list, nil
}

// get asks Prometheus's API.
func (s *server) get(ctx context.Context, path string, data any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+"/api/v1/"+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer := struct {
		Status string `json:"status"`
		Error  string `json:"error"`
		Data   any    `json:"data"`
	}{Data: data}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return errors.New(answer.Error)
	}
	return nil
}
