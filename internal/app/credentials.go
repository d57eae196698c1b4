package app

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/internal/dial"
)

// watchCredentials warns of files that others may read, and shows on metrics
// which can be used and when certificates end.
func (d *daemon) watchCredentials() {
	for _, line := range Exposed(d.cfg) {
		d.warn("secrets", line)
	}
	d.registry.MustRegister(&credentials{d})
}

// Exposed says in words which files with secrets others may read or write, a line
// for each.
func Exposed(c *config.Config) []string {
	var lines []string
	for _, f := range c.Credentials() {
		if text := f.Exposed(); text != "" {
			lines = append(lines, text)
		}
	}
	return lines
}

// credentials are the metrics of the files with certificates and secrets. They are
// looked at for each scrape, because others replace them: some files of some
// kilobytes.
type credentials struct{ d *daemon }

var (
	notAfterDesc = prometheus.NewDesc("weir_tls_certificate_not_after_timestamp_seconds",
		"When the certificates in the file of a setting end: of a chain the first, of authorities the last.", []string{"setting"}, nil)
	usableDesc = prometheus.NewDesc("weir_credential_file_usable",
		"1 if the file of a setting with a certificate or a secret can be read and used, 0 if not: then what it held last is used.", []string{"setting"}, nil)
)

// Describe tells what there is.
func (*credentials) Describe(ch chan<- *prometheus.Desc) {
	ch <- notAfterDesc
	ch <- usableDesc
}

// Collect looks at the files.
func (c *credentials) Collect(ch chan<- prometheus.Metric) {
	for _, f := range c.files() {
		usable := 1.0
		if f.Usable() != nil {
			usable = 0
		}
		ch <- prometheus.MustNewConstMetric(usableDesc, prometheus.GaugeValue, usable, f.Setting)
		if f.Kind == dial.Private {
			continue
		}
		if end, err := f.NotAfter(); err == nil {
			ch <- prometheus.MustNewConstMetric(notAfterDesc, prometheus.GaugeValue, float64(end.Unix()), f.Setting)
		}
	}
}

func (c *credentials) files() []dial.File {
	files := c.d.cfg.Credentials()
	if c.d.admin != nil {
		files = append(files, c.d.admin.door.Credentials()...)
	}
	return files
}
