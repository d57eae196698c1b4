package push

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Config is section "push" of the configuration.
type Config struct {
	// Policy is the policy file; empty for the one in the binary.
	Policy string `yaml:"policy"`
	// PseudonymKeyFile holds the key under which users and pushes get their
	// names in Redis: 32 random bytes or more. With another key all of Redis is
	// unknown users, so keep a copy of it.
	PseudonymKeyFile string      `yaml:"pseudonym_key_file"`
	Redis            RedisConfig `yaml:"redis"`
}

// RedisConfig says where Redis is. Several addresses, or cluster: true, are a
// Redis Cluster.
type RedisConfig struct {
	Addrs        []string  `yaml:"addrs"`
	Cluster      bool      `yaml:"cluster"`
	Username     string    `yaml:"username"`
	PasswordFile string    `yaml:"password_file"` // its content without the newline at the end
	DB           int       `yaml:"db"`
	TLS          TLSConfig `yaml:"tls"`
}

// TLSConfig says how connections to Redis are encrypted.
type TLSConfig struct {
	Enabled    bool   `yaml:"enabled"`
	CAFile     string `yaml:"ca_file"`     // PEM; who may sign Redis's certificates; empty: the system's authorities
	CertFile   string `yaml:"cert_file"`   // PEM; our own certificate, if Redis wants one
	KeyFile    string `yaml:"key_file"`    // PEM; its key
	ServerName string `yaml:"server_name"` // the name in Redis's certificate; empty: the host it is reached by
}

// DefaultConfig returns a Redis on this machine, without TLS and login.
func DefaultConfig() Config {
	return Config{Redis: RedisConfig{Addrs: []string{"127.0.0.1:6379"}}}
}

// makeKey is the command that makes a key file.
const makeKey = "make one with: head -c 32 /dev/urandom > pseudonym.key && chmod 600 pseudonym.key"

// Validate returns all that is wrong with c, each beginning with the field's
// path in the section. It opens no files.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	r := &c.Redis
	if c.PseudonymKeyFile == "" {
		bad("pseudonym_key_file: none given; users have no names in Redis without a key; %s", makeKey)
	}
	if len(r.Addrs) == 0 {
		bad("redis.addrs: none given; name at least one host:port")
	}
	for i, a := range r.Addrs {
		if !hostPort(a) {
			bad("redis.addrs[%d]: %q is not host:port; write it like redis-1.example.org:6379", i, a)
		}
	}
	if r.DB < 0 {
		bad("redis.db: %d is no database; give 0 or more", r.DB)
	}
	if r.DB != 0 && r.isCluster() {
		bad("redis.db: a cluster has only database 0; take the line out")
	}
	if r.Username != "" && r.PasswordFile == "" {
		bad("redis.password_file: empty, but redis.username is set; name the file that holds the password")
	}
	t := &r.TLS
	if !t.Enabled && *t != (TLSConfig{}) {
		bad("redis.tls.enabled: not set, but other fields of tls are; set it to true or remove them")
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		field, other := "cert_file", "key_file"
		if t.KeyFile == "" {
			field, other = other, field
		}
		bad("redis.tls.%s: empty, but redis.tls.%s is set; give both or none", field, other)
	}
	return errors.Join(errs...)
}

func (c *RedisConfig) isCluster() bool { return c.Cluster || len(c.Addrs) > 1 }

func hostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

// How long Redis is waited for. With go-redis's own settings one call on a
// frozen Redis hangs for 20 s, and a context's deadline does not reach the socket.
const (
	dialTimeout  = 200 * time.Millisecond
	ioTimeout    = 300 * time.Millisecond
	batchTimeout = 700 * time.Millisecond
)

// client returns a client of Redis. It does not connect yet.
func (c *RedisConfig) client() (redis.UniversalClient, error) {
	o := &redis.UniversalOptions{
		Addrs:         c.Addrs,
		IsClusterMode: c.Cluster,
		DB:            c.DB,
		Username:      c.Username,

		ContextTimeoutEnabled: true,
		DialTimeout:           dialTimeout,
		DialerRetries:         1,
		ReadTimeout:           ioTimeout,
		WriteTimeout:          ioTimeout,
		PoolTimeout:           ioTimeout,
		// One repetition by the client, for a connection that has gone stale. It
		// may send a commit twice; the second finds another version and does nothing.
		MaxRetries:   1,
		MaxRedirects: 3,

		// What hosted Redis announces about its maintenance is not for us: a
		// connection that breaks is made anew.
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		DisableIdentity:          true,
	}
	if c.PasswordFile != "" {
		b, err := os.ReadFile(c.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("redis.password_file: %w", err)
		}
		if o.Password = strings.TrimRight(string(b), "\r\n"); o.Password == "" {
			return nil, errors.New("redis.password_file: the file is empty; it must hold the password")
		}
	}
	var err error
	if o.TLSConfig, err = c.TLS.config(); err != nil {
		return nil, err
	}
	return redis.NewUniversalClient(o), nil
}

// config reads the files of the section.
func (c *TLSConfig) config() (*tls.Config, error) {
	if !c.Enabled {
		return nil, nil
	}
	t := &tls.Config{ServerName: c.ServerName, MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("redis.tls.ca_file: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("redis.tls.ca_file: no certificate in it; it must hold PEM blocks of type CERTIFICATE")
		}
	}
	if c.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("redis.tls.cert_file: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}
