package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-moderation/weir/internal/demo"
)

var update = flag.Bool("update", false, "write what the scripts and golden files expect anew")

func TestMain(m *testing.M) {
	testscript.Main(tests{m}, map[string]func(){"weir": main})
}

// tests are all of them, and then what is left to be removed.
type tests struct{ m *testing.M }

var atEnd []func() error

func (t tests) Run() int {
	code := t.m.Run()
	for _, f := range atEnd {
		if err := f(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	return code
}

// Every verb and every refusal, told as stories: what is typed, what is said. A short run tells those in which a
// command goes on beside others; those that ask and end have nothing that the packages they ask do not try by themselves.
func TestScripts(t *testing.T) {
	stories, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if testing.Short() {
		stories = slices.DeleteFunc(stories, func(file string) bool {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			return !lasts.Match(text)
		})
	}
	shipped, err := filepath.Abs("../../configs")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Setup: func(e *testscript.Env) error {
			e.Setenv("SHIPPED", shipped) // what an operator edits
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name == "unshare" { // may we have mounts of our own, and leave root?
				return os.Getuid() == 0 && exec.Command("unshare", "--mount", "true").Run() == nil, nil
			}
			return false, fmt.Errorf("no such condition: %s", name)
		},
		Files:               stories,
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"fails":       fails,
			"broker":      startBroker,
			"send":        send,
			"topic":       makeTopics,
			"put":         put,
			"bury":        bury,
			"cover":       cover,
			"commit":      commit,
			"world":       startWorld,
			"mute":        startMute,
			"free":        freeAddress,
			"await":       await,
			"repeat":      repeat,
			"wide":        wideAddress,
			"certificate": makeCertificate,
			"awaitTLS":    awaitTLS,
			"grab":        grab,
			"concat":      concat,
			"aged":        aged,
			"fill":        fill,
			"flip":        flip,
			"cut":         cut,
		},
	})
}

// lasts finds a command that goes on beside others in a script, by its way to start it or by its nature.
var lasts = regexp.MustCompile(`(?m)^exec .*&(\w+&)?$|^(exec|fails \d) weir (run|demo|top)\b`)

// usage ends the script if a command is not written as it must be.
func usage(ts *testscript.TestScript, ok bool, text string) {
	if !ok {
		ts.Fatalf("usage: %s", text)
	}
}

// number reads a number that a script gives.
func number(ts *testscript.TestScript, text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	ts.Check(err)
	return n
}

// fails is exec for a command that must end with an exit code other than 0:
// fails CODE PROGRAM ARGS ....
func fails(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 1 && args[0] != "0", "fails code program [args ...]")
	var exit *exec.ExitError
	err := ts.Exec(args[1], args[2:]...)
	if !errors.As(err, &exit) {
		ts.Fatalf("want exit code %s, got %v", args[0], cmp.Or(err, errors.New("success")))
	}
	if code := strconv.Itoa(exit.ExitCode()); code != args[0] {
		ts.Fatalf("want exit code %s, got %s", args[0], code)
	}
}

// startBroker starts an embedded broker for the script and puts its address
// into $BROKER: broker [topic ...].
func startBroker(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg, "broker [topic ...]")
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, args...))
	ts.Check(err)
	ts.Defer(c.Close)
	ts.Setenv("BROKER", c.ListenAddrs()[0])
}

// send writes every line of a file into a topic of $BROKER, as a message of this time:
// send TOPIC TIME FILE.
func send(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 3, "send topic time file")
	at, err := time.Parse(time.RFC3339, args[1])
	ts.Check(err)
	cl, err := kgo.NewClient(kgo.SeedBrokers(ts.Getenv("BROKER")), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	ts.Check(err)
	defer cl.Close()
	for line := range strings.Lines(ts.ReadFile(args[2])) {
		r := &kgo.Record{Topic: args[0], Value: []byte(strings.TrimSuffix(line, "\n")), Timestamp: at}
		ts.Check(cl.ProduceSync(context.Background(), r).FirstErr())
	}
}

// makeTopics makes compacted topics on $BROKER: topic NAME ....
func makeTopics(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 0, "topic name ...")
	cl, err := kgo.NewClient(kgo.SeedBrokers(ts.Getenv("BROKER")))
	ts.Check(err)
	defer cl.Close()
	compact := "compact"
	_, err = kadm.NewClient(cl).CreateTopics(context.Background(), 1, 1, map[string]*string{"cleanup.policy": &compact}, args...)
	ts.Check(err)
}

// put writes a file into a topic of $BROKER, under a key and as a message of so many hours ago:
// put TOPIC KEY HOURS FILE.
func put(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 4, "put topic key hours file")
	cl, err := kgo.NewClient(kgo.SeedBrokers(ts.Getenv("BROKER")))
	ts.Check(err)
	defer cl.Close()
	r := &kgo.Record{Topic: args[0], Key: []byte(args[1]), Value: []byte(ts.ReadFile(args[3])),
		Timestamp: time.Now().Add(-time.Duration(number(ts, args[2])) * time.Hour)}
	ts.Check(cl.ProduceSync(context.Background(), r).FirstErr())
}

// startWorld starts an embedded broker with all topics and an embedded Redis,
// puts their addresses into $BROKER and $REDIS and writes DIR/weir.yaml for a
// daemon that uses them: world DIR.
func startWorld(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "world dir")
	w, err := demo.Start(context.Background(), demo.Options{Dir: ts.MkAbs(args[0]), Rate: -1})
	ts.Check(err)
	ts.Defer(func() { ts.Check(w.Close()) })
	ts.Setenv("BROKER", w.Brokers()[0])
	ts.Setenv("REDIS", w.RedisAddr())
}

// startMute listens, takes connections and never says a word, like a server
// that hangs: mute NAME puts its address into $NAME.
func startMute(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "mute name")
	// Nobody accepts: the kernel does, and keeps what it is told to itself.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { ts.Check(l.Close()) })
	ts.Setenv(args[0], l.Addr().String())
}

// freeAddress puts a loopback address nobody listens at into $NAME: free NAME.
func freeAddress(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "free name")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Check(l.Close())
	ts.Setenv(args[0], l.Addr().String())
}

// wideAddress puts the port of an address on all of this machine's into $NAME: wide NAME ADDRESS.
func wideAddress(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "wide name address")
	_, port, err := net.SplitHostPort(args[1])
	ts.Check(err)
	ts.Setenv(args[0], net.JoinHostPort("0.0.0.0", port))
}

// makeCertificate writes NAME.pem, a certificate of its own signing for 127.0.0.1, and its
// key NAME.key: certificate NAME.
func makeCertificate(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "certificate name")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	ts.Check(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
}

// awaitTLS waits until the admin listener at an address is ready and lets a user in:
// awaitTLS ADDRESS CA USER PASSWORD.
func awaitTLS(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 4, "awaitTLS address ca user password")
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(ts.ReadFile(args[1])))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "https://"+args[0]+"/-/ready", nil)
	ts.Check(err)
	req.SetBasicAuth(args[2], args[3])
	last := ""
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		resp, err := client.Do(req)
		if err != nil {
			last = err.Error()
			continue
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return
		}
		last = resp.Status
	}
	ts.Fatalf("%s is not ready: %s", args[0], last)
}

// await waits until a GET of the URL is answered with 200: await URL.
func await(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "await url")
	last := "no answer"
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		r, err := http.Get(args[0])
		if err == nil {
			var body []byte
			body, err = io.ReadAll(r.Body)
			_ = r.Body.Close()
			if err == nil && r.StatusCode == http.StatusOK {
				return
			}
			last = r.Status + "\n" + string(body)
		}
		if err != nil {
			last = err.Error()
		}
		<-time.After(20 * time.Millisecond) // somebody else's process: nothing to wait on but time
	}
	ts.Fatalf("%s: %s", args[0], last)
}

// repeat writes a file of n times a text, in which \n, \x00 and the like stand
// for characters as in Go: repeat FILE N TEXT.
func repeat(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 3, "repeat file n text")
	var text []byte
	for rest := args[2]; rest != ""; {
		c, multibyte, tail, err := strconv.UnquoteChar(rest, 0)
		ts.Check(err)
		if rest = tail; multibyte {
			text = utf8.AppendRune(text, c)
		} else {
			text = append(text, byte(c))
		}
	}
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	w := bufio.NewWriterSize(f, 1<<20)
	for range number(ts, args[1]) {
		_, err = w.Write(text)
		ts.Check(err)
	}
	ts.Check(w.Flush())
	ts.Check(f.Close())
}

// grab puts what the group of a regular expression matches in the last
// command's standard output into $NAME: grab NAME REGEXP.
func grab(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "grab name regexp")
	re, err := regexp.Compile(args[1])
	ts.Check(err)
	m := re.FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) != 2 {
		ts.Fatalf("no match for one group of %s", args[1])
	}
	ts.Setenv(args[0], m[1])
}

// concat writes files one after another into one: concat OUT FILE ....
func concat(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 1, "concat out file ...")
	out, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	for _, name := range args[1:] {
		in, err := os.Open(ts.MkAbs(name))
		ts.Check(err)
		_, err = io.Copy(out, in)
		ts.Check(err)
		ts.Check(in.Close())
	}
	ts.Check(out.Close())
}

// fill puts the script's variables into files, where they say $NAME: fill FILE ....
func fill(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 0, "fill file ...")
	for _, name := range args {
		b, err := os.ReadFile(ts.MkAbs(name))
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(os.Expand(string(b), ts.Getenv)), 0o600))
	}
}

// flip turns over one bit of a file: flip FILE OFFSET. An offset below 0 counts
// from the end.
func flip(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "flip file offset")
	b, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	at := number(ts, args[1])
	if at < 0 {
		at += int64(len(b))
	}
	if at < 0 || at >= int64(len(b)) {
		ts.Fatalf("%s has %d bytes", args[0], len(b))
	}
	b[at] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o600))
}

// cut takes the last n bytes off a file: cut FILE N.
func cut(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "cut file n")
	name := ts.MkAbs(args[0])
	fi, err := os.Stat(name)
	ts.Check(err)
	ts.Check(os.Truncate(name, fi.Size()-number(ts, args[1])))
}
