package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/weir-moderation/weir/internal/dial"
)

// Access says where an admin listener is and how to come in.
type Access struct {
	URL          string
	TLS          dial.TLS // of https; Enabled is taken from the URL
	Username     string
	PasswordFile string
}

// ErrAddress is an address that is none of an admin listener.
var ErrAddress = errors.New("no address of an admin listener; give one such as http://127.0.0.1:9464")

// Client asks an admin listener. It is for commands: it follows nobody elsewhere
// and keeps no connections.
type Client struct {
	base     *url.URL
	username string
	password *dial.Secret // nil for none
	http     http.Client
}

// NewClient reads the files that a names, and asks nobody yet.
func NewClient(a Access) (*Client, error) {
	u, err := url.Parse(a.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, ErrAddress
	}
	c := &Client{base: u, username: a.Username}
	if (a.Username == "") != (a.PasswordFile == "") {
		return nil, errors.New("a user and the file of its password belong together; give both or none")
	}
	if a.PasswordFile != "" {
		if u.Scheme == "http" && !dial.IsLoopback(u.Host) {
			return nil, errors.New("a password would cross the network in clear; ask by https")
		}
		if c.password, err = dial.OpenSecret("password", a.PasswordFile); err != nil {
			return nil, err
		}
	}
	a.TLS.Enabled = u.Scheme == "https"
	if err := a.TLS.Validate("tls"); err != nil {
		return nil, errors.New("files of TLS are named, but the address is not https; or a certificate without its key")
	}
	secure, err := a.TLS.Handshake("tls")
	if err != nil {
		return nil, err
	}
	c.http = http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, address)
				if err != nil {
					return nil, err
				}
				return secure.Client(ctx, conn, address)
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// URL returns where the listener is. It holds no password.
func (c *Client) URL() string { return c.base.String() }

// Do asks for a path, such as /-/reload, and returns the answer, which the caller
// closes. Answers other than 200 are its matter, but for those that say that we
// are not let in.
func (c *Client) Do(ctx context.Context, method, path string, query url.Values) (*http.Response, error) {
	at := c.base.JoinPath(path)
	at.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, at.String(), nil)
	if err != nil {
		return nil, err
	}
	if c.password != nil {
		req.SetBasicAuth(c.username, c.password.Value())
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the daemon: %w", err)
	}
	if resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusForbidden {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusUnauthorized {
		if c.password == nil {
			return nil, errors.New("the daemon wants a user and a password")
		}
		return nil, errors.New("the daemon does not take this user with this password")
	}
	why, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // as much as came is as much as is told
	return nil, fmt.Errorf("the daemon says: %s", strings.TrimSpace(string(why)))
}
