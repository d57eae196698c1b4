package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/weir-moderation/weir/internal/dial"
)

// OAuth says where the token of a login by OAUTHBEARER comes from: a file that
// somebody else keeps fresh, or an endpoint that is asked for it.
type OAuth struct {
	TokenFile        string   `yaml:"token_file"`         // read again at each login
	Endpoint         string   `yaml:"endpoint"`           // https; asked by the client credentials grant (RFC 6749, 4.4)
	ClientID         string   `yaml:"client_id"`          // who asks there
	ClientSecretFile string   `yaml:"client_secret_file"` // its password there
	Scope            string   `yaml:"scope"`              // what is asked for, words apart by spaces
	Audience         string   `yaml:"audience"`           // sent as the parameter audience, if the endpoint wants one
	Extensions       string   `yaml:"extensions"`         // name=value,name=value for the brokers, if they want some
	TLS              dial.TLS `yaml:"tls"`                // of the connection to the endpoint; it is always on for https
}

var extensionShape = regexp.MustCompile(`^[A-Za-z]+=[\x21-\x7E \t]+$`)

// validate reports what is wrong with the settings at path.
func (o *OAuth) validate(path string) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(path+"."+format, args...)) }
	switch {
	case o.TokenFile == "" && o.Endpoint == "":
		bad("token_file: empty, and so is %s.endpoint; name the file that holds the token, or the endpoint that gives one", path)
	case o.TokenFile != "" && o.Endpoint != "":
		bad("token_file: set, and so is %s.endpoint; give one of them", path)
	case o.Endpoint != "":
		if u, err := url.Parse(o.Endpoint); err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || !dial.IsLoopback(u.Hostname())) {
			bad("endpoint: not an https URL; the secret of the client goes there, so write it like https://login.example.org/oauth2/token")
		}
		if o.ClientID == "" {
			bad("client_id: empty; name who asks for the token")
		}
		if o.ClientSecretFile == "" {
			bad("client_secret_file: empty; name the file that holds the secret of the client")
		}
	case o.ClientID != "" || o.ClientSecretFile != "" || o.Scope != "" || o.Audience != "" || o.TLS != (dial.TLS{}):
		bad("endpoint: empty, but fields are set that belong to it; name the endpoint, or leave only token_file")
	}
	for _, e := range splitList(o.Extensions) {
		if !extensionShape.MatchString(e) || strings.HasPrefix(e, "auth=") {
			bad("extensions: not a list of name=value, apart by commas, with names of letters; write it like logicalCluster=lkc-1,identityPoolId=pool-1")
			break
		}
	}
	if err := o.TLS.Validate(path + ".tls"); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// splitList returns the items of a list apart by commas.
func splitList(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

// open reads the files and returns what gives the token for a login. It asks the
// endpoint not yet.
func (o *OAuth) open(path string) (func(context.Context) (string, error), error) {
	if o.TokenFile != "" {
		token, err := dial.OpenSecret(path+".token_file", o.TokenFile)
		if err != nil {
			return nil, err
		}
		return func(context.Context) (string, error) { return wholeToken(token.Value()) }, nil
	}
	e, err := o.endpoint(path)
	if err != nil {
		return nil, err
	}
	return e.token, nil
}

// endpoint reads the files and returns where tokens are asked for.
func (o *OAuth) endpoint(path string) (*endpoint, error) {
	secret, err := dial.OpenSecret(path+".client_secret_file", o.ClientSecretFile)
	if err != nil {
		return nil, err
	}
	settings := o.TLS
	settings.Enabled = true
	secure, err := settings.Handshake(path + ".tls")
	if err != nil {
		return nil, err
	}
	e := &endpoint{settings: *o, secret: secret, busy: make(chan struct{}, 1), now: time.Now}
	dialer := net.Dialer{Timeout: dialTimeout}
	e.client = &http.Client{
		Transport: &http.Transport{
			DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := dialer.DialContext(ctx, network, address)
				if err != nil {
					return nil, err
				}
				return secure.Client(ctx, conn, address)
			},
			DisableKeepAlives: true, // asked once in minutes or hours
		},
		// What we send is a secret, for the endpoint that was named and no other.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return e, nil
}

// wholeToken refuses what cannot be a token: within the login it would say
// something else.
func wholeToken(token string) (string, error) {
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", errors.New("what should be a token has spaces or other characters no token has (RFC 6750)")
	}
	return token, nil
}

// endpoint is where tokens are asked for.
type endpoint struct {
	settings OAuth
	secret   *dial.Secret
	client   *http.Client
	now      func() time.Time

	busy  chan struct{} // held by who asks; the others wait for what it gets
	last  string
	renew time.Time // from when on a new one is asked for
	ends  time.Time
}

// token returns a token that has a fifth of its life before it, or, if the
// endpoint gives no new one, one that has not ended.
func (e *endpoint) token(ctx context.Context) (string, error) {
	select {
	case e.busy <- struct{}{}:
		defer func() { <-e.busy }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	now := e.now()
	if now.Before(e.renew) {
		return e.last, nil
	}
	t, life, err := e.ask(ctx)
	if err != nil {
		if now.Before(e.ends) {
			return e.last, nil
		}
		return "", err
	}
	e.last, e.renew, e.ends = t, now.Add(life*4/5), now.Add(life)
	return t, nil
}

// ask returns a new token and how long it lives: 0 if nobody says, so that each
// login asks anew.
func (e *endpoint) ask(ctx context.Context) (string, time.Duration, error) {
	s := &e.settings
	c := clientcredentials.Config{ClientID: s.ClientID, ClientSecret: e.secret.Value(), TokenURL: s.Endpoint, Scopes: strings.Fields(s.Scope)}
	if s.Audience != "" {
		c.EndpointParams = url.Values{"audience": {s.Audience}}
	}
	t, err := c.Token(context.WithValue(ctx, oauth2.HTTPClient, e.client))
	if err == nil {
		_, err = wholeToken(t.AccessToken)
	}
	switch {
	case err != nil:
		return "", 0, &tokenError{e.explain(err)}
	case t.Expiry.IsZero():
		return t.AccessToken, 0, nil
	}
	return t.AccessToken, time.Until(t.Expiry), nil
}

// tokenError says why there is no token. It is not about the broker.
type tokenError struct{ error }

func (e *tokenError) Unwrap() error { return e.error }

// explain leaves out what the endpoint answered in its own words: some repeat
// what they were sent.
func (e *endpoint) explain(err error) error {
	refused, ok := errors.AsType[*oauth2.RetrieveError](err)
	switch {
	case !ok:
		return fmt.Errorf("no token from %s: %w", e.settings.Endpoint, err)
	case refused.ErrorCode == "invalid_client", refused.Response.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("no token from %s: it does not take the client; see sasl.oauth.client_id and client_secret_file", e.settings.Endpoint)
	case refused.ErrorCode == "invalid_scope":
		return fmt.Errorf("no token from %s: it does not give this scope; see sasl.oauth.scope", e.settings.Endpoint)
	}
	return fmt.Errorf("no token from %s: it answers %s; see sasl.oauth", e.settings.Endpoint, refused.Response.Status)
}
