package kafka

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-moderation/weir/internal/dial"
)

// authority gives tokens to who knows its secret: the first is t1, the next t2.
type authority struct {
	*httptest.Server

	ca      string
	secret  atomic.Value // string
	asked   atomic.Int32
	away    atomic.Bool
	expires string // what it says of how long, in JSON
	answer  func(w http.ResponseWriter)
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{expires: `,"expires_in":1000`}
	a.secret.Store("open sesame")
	a.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		switch {
		case a.answer != nil:
			a.answer(w)
		case a.away.Load():
			http.Error(w, "out of order", http.StatusServiceUnavailable)
		case r.FormValue("grant_type") != "client_credentials" || r.FormValue("scope") != "kafka orders" || r.FormValue("audience") != "brokers":
			http.Error(w, "what?", http.StatusBadRequest)
		case id != "weir" || secret != strings.ReplaceAll(a.secret.Load().(string), " ", "+"): // form-encoded, RFC 6749, 2.3.1
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, `{"error":"invalid_client","error_description":"not %s"}`, secret)
		default:
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"access_token":"t%d","token_type":"Bearer"%s}`, a.asked.Add(1), a.expires)
		}
	}))
	t.Cleanup(a.Close)
	a.ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(a.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) settings(secretFile string) OAuth {
	return OAuth{Endpoint: a.URL + "/token", ClientID: "weir", ClientSecretFile: secretFile, Scope: "kafka orders", Audience: "brokers", TLS: dial.TLS{Enabled: true, CAFile: a.ca}}
}

// endpointOf opens an endpoint whose clock the test sets.
func endpointOf(t *testing.T, o OAuth) (*endpoint, *time.Time) {
	t.Helper()
	e, err := o.endpoint("sasl.oauth")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	e.now = func() time.Time { return now }
	return e, &now
}

// A token serves until a fifth of its life is left; then a new one is asked for,
// with the secret that the file has by then. While there is no new one, the old
// serves until its end.
func TestTokenIsRenewedBeforeItEnds(t *testing.T) {
	a := newAuthority(t)
	file := secret(t, "open sesame")
	e, now := endpointOf(t, a.settings(file))
	want := func(after time.Duration, token, problem string) {
		t.Helper()
		*now = now.Add(after)
		got, err := e.token(t.Context())
		if got != token || (err == nil) != (problem == "") || err != nil && !strings.Contains(err.Error(), problem) {
			t.Errorf("token %q, %v; want %q, %s", got, err, token, problem)
		}
	}
	want(0, "t1", "")
	want(790*time.Second, "t1", "")
	want(20*time.Second, "t2", "")
	a.secret.Store("open barley")
	want(810*time.Second, "t2", "") // refused, but t2 has not ended
	want(200*time.Second, "", "it does not take the client; see sasl.oauth.client_id and client_secret_file")
	if err := os.WriteFile(file, []byte("open barley"), 0o600); err != nil {
		t.Fatal(err)
	}
	want(0, "t3", "")
	a.away.Store(true)
	want(900*time.Second, "t3", "")
	want(200*time.Second, "", "it answers 503 Service Unavailable; see sasl.oauth")
	a.away.Store(false)
	a.expires = ""
	want(0, "t4", "")
	want(0, "t5", "") // nobody says how long: each login asks anew
}

// What an endpoint answers instead of a token is told without its words, which
// may repeat the secret; and nobody is followed elsewhere.
func TestEndpointRefuses(t *testing.T) {
	a := newAuthority(t)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the secret went elsewhere") }))
	t.Cleanup(elsewhere.Close)
	for _, test := range []struct {
		name   string
		answer func(w http.ResponseWriter)
		want   string
	}{
		{"a scope it does not give", func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"error":"invalid_scope"}`))
		}, "it does not give this scope; see sasl.oauth.scope"},
		{"a redirect", func(w http.ResponseWriter) {
			w.Header().Set("Location", elsewhere.URL)
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, "it answers 307"},
		{"no token in it", func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{}`)) }, "no token from https://"},
		{"a token that is more than one", func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"access_token":"a\u0001user=admin"}`))
		}, "characters no token has"},
		{"the secret, repeated", func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write([]byte("open sesame"))
		}, "it answers 500"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a.answer = test.answer
			e, _ := endpointOf(t, a.settings(secret(t, "open sesame")))
			_, err := e.token(t.Context())
			if _, ok := errors.AsType[*tokenError](err); !ok || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "sesame") {
				t.Errorf("the error repeats the secret: %v", err)
			}
		})
	}
	t.Run("an authority we do not know", func(t *testing.T) {
		o := a.settings(secret(t, "open sesame"))
		o.TLS = dial.TLS{}
		e, _ := endpointOf(t, o)
		if _, err := e.token(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%v", err)
		}
	})
}

// Many logins at once ask once, and one that may not wait any longer ends.
func TestTokenIsAskedForOnce(t *testing.T) {
	a := newAuthority(t)
	e, _ := endpointOf(t, a.settings(secret(t, "open sesame")))
	got := make(chan string)
	for range 20 {
		go func() {
			token, err := e.token(t.Context())
			if err != nil {
				t.Error(err)
			}
			got <- token
		}()
	}
	for range 20 {
		if token := <-got; token != "t1" {
			t.Errorf("token %q", token)
		}
	}
	e.busy <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.token(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Settings that contradict each other, or would give the secret away, are refused
// at their place.
func TestOAuthRefusals(t *testing.T) {
	whole := OAuth{Endpoint: "https://a/t", ClientID: "c", ClientSecretFile: "s"}
	with := func(change func(*OAuth)) OAuth {
		o := whole
		change(&o)
		return o
	}
	for _, test := range []struct {
		oauth OAuth
		want  string // empty: fine
	}{
		{whole, ""},
		{OAuth{TokenFile: "f", Extensions: "logicalCluster=lkc-1,identityPoolId=pool-1"}, ""},
		{with(func(o *OAuth) { o.Endpoint = "http://127.0.0.1:1/t" }), ""},
		{OAuth{}, "sasl.oauth.token_file: empty, and so is sasl.oauth.endpoint"},
		{with(func(o *OAuth) { o.TokenFile = "f" }), "sasl.oauth.token_file: set, and so is"},
		{with(func(o *OAuth) { o.Endpoint = "http://a/t" }), "sasl.oauth.endpoint: not an https URL"},
		{with(func(o *OAuth) { o.Endpoint = "https://u:p@a/t" }), "sasl.oauth.endpoint: not an https URL"},
		{with(func(o *OAuth) { o.ClientID = "" }), "sasl.oauth.client_id: empty"},
		{with(func(o *OAuth) { o.ClientSecretFile = "" }), "sasl.oauth.client_secret_file: empty"},
		{OAuth{TokenFile: "f", Scope: "x"}, "sasl.oauth.endpoint: empty, but fields are set"},
		{OAuth{TokenFile: "f", Extensions: "auth=x"}, "sasl.oauth.extensions: not a list"},
		{OAuth{TokenFile: "f", Extensions: "a=b\x01auth=x"}, "sasl.oauth.extensions: not a list"},
		{with(func(o *OAuth) { o.TLS.CAFile = "x" }), "sasl.oauth.tls.enabled: not set"},
	} {
		c := DefaultConfig()
		c.SASL = SASL{Mechanism: "oauthbearer", OAuth: test.oauth}
		err := c.Validate()
		if (err == nil) != (test.want == "") || err != nil && !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.oauth, err, test.want)
		}
	}
	for _, s := range []SASL{
		{Mechanism: "oauthbearer", Username: "u", OAuth: whole},
		{Mechanism: "plain", Username: "u", PasswordFile: "p", OAuth: whole},
	} {
		c := DefaultConfig()
		c.SASL = s
		if c.Validate() == nil {
			t.Errorf("%+v: accepted", s)
		}
	}
}

// A login carries the token and its extensions as RFC 7628 has it, and an answer
// that is not empty ends it.
func TestBearer(t *testing.T) {
	b := &bearer{token: "t", extensions: "a=1,b=2"}
	login, first, err := b.Start(t.Context())
	if err != nil || string(first) != "n,,\x01auth=Bearer t\x01a=1\x01b=2\x01\x01" {
		t.Errorf("%q, %v", first, err)
	}
	if done, _, err := login.Next(t.Context(), nil); !done || err != nil {
		t.Errorf("%v, %v", done, err)
	}
	if _, _, err := login.Next(t.Context(), []byte(`{"status":"invalid_token"}`)); !errors.Is(err, errToken) {
		t.Error(err)
	}
}
