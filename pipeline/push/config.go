package push

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/weir-moderation/weir/internal/dial"
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
	Addrs        []string `yaml:"addrs"`
	Cluster      bool     `yaml:"cluster"`
	Username     string   `yaml:"username"`
	PasswordFile string   `yaml:"password_file"` // its content without the newline at the end
	DB           int      `yaml:"db"`
	TLS          dial.TLS `yaml:"tls"`
	// AcceptEviction lets Weir start on a Redis that throws records away when memory
	// is short. It is for trying things out: what is thrown away are the counts
	// behind caps and what users agreed to.
	AcceptEviction bool `yaml:"accept_eviction"`
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
		if !dial.IsHostPort(a) {
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
	if err := r.TLS.Validate("redis.tls"); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (c *RedisConfig) isCluster() bool { return c.Cluster || len(c.Addrs) > 1 }

// How long Redis is waited for. With go-redis's own settings one call on a
// frozen Redis hangs for 20 s, and a context's deadline does not reach the socket.
const (
	dialTimeout  = 200 * time.Millisecond
	ioTimeout    = 300 * time.Millisecond
	batchTimeout = 650 * time.Millisecond // given up within 0.7 s, the time to notice it included

	// replicaTimeout is how long a commit waits for a replica to have it, where the
	// policy promises that. It must stay well below ioTimeout, which runs meanwhile.
	replicaTimeout = 100 * time.Millisecond
)

// client returns a client of Redis. It does not connect yet. Greet, if not nil, gives
// what is done first on each new connection to an address.
func (c *RedisConfig) client(greet func(addr string) func(context.Context, *redis.Conn) error) (redis.UniversalClient, error) {
	o := &redis.UniversalOptions{
		Addrs:         c.Addrs,
		IsClusterMode: c.Cluster,
		DB:            c.DB,

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
		password, err := dial.OpenSecret("redis.password_file", c.PasswordFile)
		if err != nil {
			return nil, err
		}
		o.CredentialsProviderContext = func(context.Context) (string, string, error) { return c.Username, password.Value(), nil }
	}
	secure, err := c.TLS.Handshake("redis.tls")
	if err != nil {
		return nil, err
	}
	// Here and not by go-redis, which would keep the certificates it began with.
	dialer := net.Dialer{Timeout: dialTimeout}
	o.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout) // the handshake included
		defer cancel()
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return secure.Client(ctx, conn, address)
	}
	if greet == nil {
		return redis.NewUniversalClient(o), nil
	}
	if !c.isCluster() {
		simple := o.Simple()
		simple.OnConnect = greet(simple.Addr)
		return redis.NewClient(simple), nil
	}
	cluster := o.Cluster()
	cluster.NewClient = func(member *redis.Options) *redis.Client {
		member.OnConnect = greet(member.Addr)
		return redis.NewClient(member)
	}
	return redis.NewClusterClient(cluster), nil
}
