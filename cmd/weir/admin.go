package main

import (
	"errors"
	"fmt"

	"github.com/weir-moderation/weir/internal/admin"
	"github.com/weir-moderation/weir/internal/dial"
)

// adminFlags say where the admin listener of a daemon is, and how to come in.
type adminFlags struct {
	Admin string `default:"http://127.0.0.1:9464" help:"Where the admin listener of the daemon is." placeholder:"URL"`
	adminLogin
}

// adminLogin says how to come in at admin listeners.
type adminLogin struct {
	AdminUser     string `help:"Log in there as this user." placeholder:"NAME"`
	AdminPassword string `name:"admin-password-file" help:"The file with its password." type:"path" placeholder:"FILE"`
	AdminCA       string `name:"admin-ca-file" help:"Who may sign the listener's certificate, PEM; the system's authorities if not given." type:"path" placeholder:"FILE"`
	AdminCert     string `name:"admin-cert-file" help:"Our own certificate, PEM, if the listener wants one." type:"path" placeholder:"FILE"`
	AdminKey      string `name:"admin-key-file" help:"Its key, PEM." type:"path" placeholder:"FILE"`
}

// client returns what asks the listener.
func (f *adminFlags) client() (*admin.Client, error) { return f.at(f.Admin) }

// at returns what asks the listener at a URL.
func (f *adminLogin) at(url string) (*admin.Client, error) {
	c, err := admin.NewClient(admin.Access{
		URL: url, Username: f.AdminUser, PasswordFile: f.AdminPassword,
		TLS: dial.TLS{CAFile: f.AdminCA, CertFile: f.AdminCert, KeyFile: f.AdminKey},
	})
	switch {
	case errors.Is(err, admin.ErrAddress):
		return nil, &codeError{fmt.Errorf("--admin: %q is %w", url, err), exitMisuse}
	case err != nil:
		return nil, fmt.Errorf("--admin: %w", err)
	}
	return c, nil
}
