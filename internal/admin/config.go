package admin

// Config says who is let in at the admin listener (section "admin").
type Config struct {
	// WebConfigFile is the file in which operators of Prometheus say TLS, client
	// certificates and users: the format is that of
	// github.com/prometheus/exporter-toolkit. It is read again for every connection
	// and every request. Empty: no TLS, no users.
	WebConfigFile string `yaml:"web_config_file"`
}
