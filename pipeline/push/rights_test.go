package push

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-moderation/weir/pipeline/event"
)

// rights are all that Weir does on Redis, as docs/operations.md names them.
var rights = []string{"+get", "+mget", "+getrange", "+set", "+del", "+eval", "+evalsha", "+script|load", "+info", "+time", "+ping", "+wait"}

// certificates writes a certificate of its own signing for 127.0.0.1 as NAME.pem and
// NAME.key into a folder.
func certificates(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
		der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		private, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		for end, block := range map[string]*pem.Block{".pem": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: private}} {
			if err := os.WriteFile(filepath.Join(dir, name+end), pem.EncodeToMemory(block), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// encryptedServer starts a redis-server that wants certificates of its clients, and
// returns its address for them.
func encryptedServer(t *testing.T, dir string) (s *redisServer, addr string) {
	t.Helper()
	needServer(t)
	ports, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	s, err = launch(dir, "--tls-port", ports[0], "--tls-cert-file", at("server.pem"), "--tls-key-file", at("server.key"),
		"--tls-ca-cert-file", at("client.pem"), "--tls-auth-clients", "yes")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	return s, "127.0.0.1:" + ports[0]
}

// Over TLS with certificates of both sides and as a user with exactly the rights that
// docs/operations.md names, everything works; with any of them less something is
// refused; and nothing else is ever asked for, but for what tells more at the start.
func TestExactRights(t *testing.T) {
	docs, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	if documented := strings.Join(rights, " "); !strings.Contains(string(docs), "`"+documented+"`") {
		t.Errorf("docs/operations.md does not name %s", documented)
	}
	dir := t.TempDir()
	certificates(t, dir, "server", "client")
	server, addr := encryptedServer(t, dir)
	password := filepath.Join(dir, "password")
	config := configFor(t, addr)
	config.Redis.Username, config.Redis.PasswordFile = "weir", password
	config.Redis.TLS.Enabled, config.Redis.TLS.CAFile = true, filepath.Join(dir, "server.pem")
	config.Redis.TLS.CertFile, config.Redis.TLS.KeyFile = filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key")
	if err := os.WriteFile(password, []byte("horse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// refused returns what Redis refused while everything was done with some rights.
	refused := func(rights []string) (commands []string, problem error) {
		server.do(t, "FLUSHALL")
		server.do(t, "SCRIPT", "FLUSH")
		server.do(t, "ACL", "LOG", "RESET")
		args := []any{"ACL", "SETUSER", "weir", "reset", "on", ">horse", "~pg:*"}
		for _, r := range rights {
			args = append(args, r)
		}
		server.do(t, args...)
		problem = everything(t, config)
		for _, entry := range server.do(t, "ACL", "LOG").([]any) {
			e := fmt.Sprint(entry)
			if !strings.Contains(e, "object config|get") {
				commands = append(commands, e)
			}
		}
		return commands, problem
	}
	if commands, err := refused(rights); err != nil || len(commands) > 0 {
		t.Errorf("%v; refused: %s", err, commands)
	}
	for i, r := range rights {
		less := slices.Delete(slices.Clone(rights), i, i+1)
		if commands, _ := refused(less); len(commands) == 0 {
			t.Errorf("without %s nothing is refused", r)
		}
	}
}

// everything does all that the daemon and the commands do on Redis.
func everything(t *testing.T, config Config) error {
	p := loadPolicy(t, shippedPolicy)
	s, err := NewStore(Options{Config: config, Consent: []string{"weir.consent"}, Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := t.Context()
	s.Enforce(p)
	_, errs := s.Inspect(ctx, p)
	add := func(err error) { errs = errors.Join(errs, err) }
	rebuild := func() {
		r, err := s.BeginRebuild(ctx)
		add(err)
		if r != nil {
			add(s.Apply(ctx, p, []*event.Event{consentEvent("u", 1, true), consentEvent("v", 1, true)}))
			add(r.Renew(ctx))
			add(r.Finish(ctx))
			add(r.End(ctx))
		}
	}
	rebuild()
	decide := func(p *Policy, user, id string) {
		_, err := s.Decide(ctx, p, noon, []Request{pushTo(user, id, "marketing")})
		add(err)
	}
	decide(p, "u", "1")
	decide(replicatedPolicy(t, shippedPolicy), "v", "2")
	_, err = s.Refund(ctx, []byte("u"), []byte("1"))
	add(err)
	_, err = s.InspectUser(ctx, []byte("u"))
	add(err)
	_, err = s.Forget(ctx, p, []byte("v"), noon)
	add(err)
	add(s.Check(ctx))
	return errs
}

// A password and certificates that are replaced count from the next connection on,
// without a restart.
func TestSecretsAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	certificates(t, dir, "server", "client", "new")
	server, addr := encryptedServer(t, dir)
	password := filepath.Join(dir, "password")
	config := configFor(t, addr)
	config.Redis.Username, config.Redis.PasswordFile = "weir", password
	config.Redis.TLS.Enabled, config.Redis.TLS.CAFile = true, filepath.Join(dir, "server.pem")
	config.Redis.TLS.CertFile, config.Redis.TLS.KeyFile = filepath.Join(dir, "ours.pem"), filepath.Join(dir, "ours.key")
	put := func(from, to string) {
		b, err := os.ReadFile(filepath.Join(dir, from))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, to), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write := func(text string) {
		if err := os.WriteFile(password, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("client.pem", "ours.pem")
	put("client.key", "ours.key")
	write("old horse")
	server.do(t, "ACL", "SETUSER", "weir", "on", ">old horse", "~pg:*", "+@all")
	s := storeFor(t, config)
	ask := func() error {
		server.do(t, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") // the next is a new connection
		var err error
		for range 3 { // a connection of the pool that was just killed fails first
			if err = s.client.Ping(context.Background()).Err(); err == nil {
				return nil
			}
		}
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	server.do(t, "ACL", "SETUSER", "weir", "<old horse", ">new horse")
	if err := ask(); err == nil || !strings.Contains(err.Error(), "WRONGPASS") || strings.Contains(err.Error(), "horse") {
		t.Errorf("the old password: %v", err)
	}
	write("new horse")
	if err := ask(); err != nil {
		t.Errorf("the new password: %v", err)
	}
	server.do(t, "CONFIG", "SET", "tls-ca-cert-file", filepath.Join(dir, "new.pem"))
	if err := ask(); err == nil {
		t.Error("a certificate that is not trusted any more was taken")
	}
	put("new.pem", "ours.pem")
	put("new.key", "ours.key")
	if err := ask(); err != nil {
		t.Errorf("the new certificate: %v", err)
	}
	server.do(t, "CONFIG", "SET", "tls-cert-file", filepath.Join(dir, "new.pem"), "tls-key-file", filepath.Join(dir, "new.key"))
	if err := ask(); err == nil {
		t.Error("a server with another certificate was believed")
	}
	put("new.pem", "server.pem")
	if err := ask(); err != nil {
		t.Errorf("the new authority: %v", err)
	}
}
