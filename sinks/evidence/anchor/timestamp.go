package anchor

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" // names a certificate in older tokens, and proves nothing by itself
	"crypto/sha256"
	_ "crypto/sha512" // tokens may be signed with it
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-moderation/weir/sinks/evidence"
)

// TimestampBody is the body of a timestamp record.
type TimestampBody struct {
	Checkpoint string `json:"checkpoint"` // what the token is over, as its bytes stand here
	Token      []byte `json:"token"`      // the TimeStampToken of RFC 3161, DER
	Time       string `json:"time"`       // by the authority, RFC 3339
	Policy     string `json:"policy"`     // the authority's, an OID
	Serial     string `json:"serial"`     // of the token, decimal
}

// Stamper has a time-stamp authority say when a head was there. What a log says of
// its own clock nobody need believe.
type Stamper struct {
	url    string
	every  time.Duration
	roots  *x509.CertPool
	log    *evidence.Log
	logger *slog.Logger
	last   atomic.Int64
}

// NewStamper returns one for a log that is open, and reads the file of certificates.
func NewStamper(c TimestampConfig, log *evidence.Log, logger *slog.Logger, reg prometheus.Registerer) (*Stamper, error) {
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("anchors.timestamp.ca_file: %w", err)
	}
	s := &Stamper{url: c.URL, every: c.Every, roots: x509.NewCertPool(), log: log, logger: logger}
	if !s.roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("anchors.timestamp.ca_file: %s holds no certificate in PEM", c.CAFile)
	}
	s.last.Store(time.Now().UnixNano())
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_evidence_unstamped_seconds",
		Help: "How long ago the time-stamp authority last signed a head of the evidence log, or the process started.",
	}, func() float64 { return time.Since(time.Unix(0, s.last.Load())).Seconds() }))
	return s, nil
}

// stampPatience is how long to wait after an authority did not answer.
const stampPatience = 10 * time.Minute

// Run has the latest head stamped once at the start and then every interval, until
// ctx ends. Its error is that the log is broken.
func (s *Stamper) Run(ctx context.Context) error {
	for {
		wait := s.every
		err := s.step(ctx)
		switch {
		case errors.Is(err, evidence.ErrBroken):
			return fmt.Errorf("time-stamp: %w", err)
		case ctx.Err() != nil:
			return nil
		case err != nil:
			s.logger.Warn("no time-stamp for the head of the evidence log; trying again", "err", err)
			wait = min(wait, stampPatience)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

func (s *Stamper) step(ctx context.Context) error {
	msg := s.log.Checkpoint()
	body, err := s.stamp(ctx, msg)
	if err != nil {
		return err
	}
	s.last.Store(time.Now().UnixNano())
	return record(ctx, s.log, evidence.KindTimestamp, body)
}

// stamp returns what the authority says of a checkpoint.
func (s *Stamper) stamp(ctx context.Context, msg []byte) (*TimestampBody, error) {
	nonce, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 63))
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(msg)
	query, err := asn1.Marshal(timeStampReq{Version: 1, Imprint: messageImprint{pkix.AlgorithmIdentifier{Algorithm: oidSHA256, Parameters: asn1.NullRawValue}, sum[:]}, Nonce: nonce, CertReq: true})
	if err != nil {
		return nil, err
	}
	status, kind, answer, err := ask(ctx, http.MethodPost, s.url, "application/timestamp-query", query)
	switch {
	case err != nil:
		return nil, err
	case status != http.StatusOK || kind != "application/timestamp-reply":
		return nil, fmt.Errorf("the authority answers with status %d and type %q", status, kind)
	}
	var reply timeStampResp
	if err := parse(answer, &reply); err != nil {
		return nil, fmt.Errorf("the authority's answer: %w", err)
	}
	if reply.Status.Status > 1 { // granted, granted with modifications
		return nil, fmt.Errorf("the authority refuses with status %d", reply.Status.Status)
	}
	info, err := checkToken(reply.Token.FullBytes, sum[:], s.roots)
	if err != nil {
		return nil, fmt.Errorf("the authority's token: %w", err)
	}
	if info.Nonce == nil || info.Nonce.Cmp(nonce) != 0 {
		return nil, errors.New("the authority's token is the answer to another question")
	}
	return &TimestampBody{Checkpoint: string(msg), Token: reply.Token.FullBytes, Time: info.Time.UTC().Format(time.RFC3339Nano),
		Policy: info.Policy.String(), Serial: info.Serial.String()}, nil
}

// CheckToken checks a time-stamp token over data: what it is over, its signature,
// and that the certificate comes from one of roots and may sign time-stamps at
// that time. It returns the time. Revocation is not looked at.
func CheckToken(token, data []byte, roots *x509.CertPool) (time.Time, error) {
	sum := sha256.Sum256(data)
	info, err := checkToken(token, sum[:], roots)
	if err != nil {
		return time.Time{}, err
	}
	return info.Time, nil
}

// The structures of RFC 3161 and of RFC 5652, as far as a token needs them.
type (
	timeStampReq struct {
		Version int
		Imprint messageImprint
		Nonce   *big.Int
		CertReq bool
	}
	messageImprint struct {
		Algorithm pkix.AlgorithmIdentifier
		Hash      []byte
	}
	timeStampResp struct {
		Status pkiStatusInfo
		Token  asn1.RawValue `asn1:"optional"`
	}
	pkiStatusInfo struct {
		Status int
		Text   []string       `asn1:"optional,utf8"`
		Fault  asn1.BitString `asn1:"optional"`
	}
	contentInfo struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue `asn1:"explicit,tag:0"`
	}
	signedData struct {
		Version      int
		Digests      []pkix.AlgorithmIdentifier `asn1:"set"`
		Content      encapsulated
		Certificates asn1.RawValue `asn1:"optional,tag:0"`
		CRLs         asn1.RawValue `asn1:"optional,tag:1"`
		Signers      []signerInfo  `asn1:"set"`
	}
	encapsulated struct {
		Type    asn1.ObjectIdentifier
		Content []byte `asn1:"explicit,optional,tag:0"`
	}
	signerInfo struct {
		Version    int
		Signer     asn1.RawValue // issuer and serial number, or a key id
		Digest     pkix.AlgorithmIdentifier
		Signed     asn1.RawValue `asn1:"optional,tag:0"`
		Algorithm  pkix.AlgorithmIdentifier
		Signature  []byte
		Unverified asn1.RawValue `asn1:"optional,tag:1"`
	}
	issuerAndSerial struct {
		Issuer asn1.RawValue
		Serial *big.Int
	}
	attribute struct {
		Type   asn1.ObjectIdentifier
		Values asn1.RawValue // a set
	}
	tstInfo struct {
		Version    int
		Policy     asn1.ObjectIdentifier
		Imprint    messageImprint
		Serial     *big.Int
		Time       time.Time     `asn1:"generalized"`
		Accuracy   accuracy      `asn1:"optional"`
		Ordering   bool          `asn1:"optional"`
		Nonce      *big.Int      `asn1:"optional"`
		Authority  asn1.RawValue `asn1:"optional,explicit,tag:0"`
		Extensions asn1.RawValue `asn1:"optional,tag:1"`
	}
	accuracy struct {
		Seconds int `asn1:"optional"`
		Millis  int `asn1:"optional,tag:0"`
		Micros  int `asn1:"optional,tag:1"`
	}
	signingCertificateV1 struct {
		Certificates []certificateIDV1
		Policies     asn1.RawValue `asn1:"optional"`
	}
	certificateIDV1 struct {
		Hash   []byte
		Issuer asn1.RawValue `asn1:"optional"`
	}
	signingCertificateV2 struct {
		Certificates []certificateIDV2
		Policies     asn1.RawValue `asn1:"optional"`
	}
	certificateIDV2 struct {
		Algorithm pkix.AlgorithmIdentifier `asn1:"optional"` // absent: SHA-256
		Hash      []byte
		Issuer    asn1.RawValue `asn1:"optional"`
	}
)

var (
	oidSHA256 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidSHA384 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}
	oidSHA512 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}

	oidSignedData  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidTSTInfo     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}
	oidContentType = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidDigest      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSigningCert = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 12}
	oidSigningV2   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 47}
)

// parse reads DER that fills b.
func parse(b []byte, to any) error {
	rest, err := asn1.Unmarshal(b, to)
	if err != nil {
		return fmt.Errorf("not the DER that RFC 3161 asks for: %w", err)
	}
	if len(rest) > 0 {
		return errors.New("something stands behind its end")
	}
	return nil
}

// hashOf returns a hash function by its name in ASN.1.
func hashOf(oid asn1.ObjectIdentifier) (crypto.Hash, error) {
	switch {
	case oid.Equal(oidSHA256):
		return crypto.SHA256, nil
	case oid.Equal(oidSHA384):
		return crypto.SHA384, nil
	case oid.Equal(oidSHA512):
		return crypto.SHA512, nil
	}
	return 0, fmt.Errorf("its hash function %s is not SHA-256, SHA-384 or SHA-512", oid)
}

func digest(h crypto.Hash, b []byte) []byte {
	f := h.New()
	f.Write(b)
	return f.Sum(nil)
}

// checkToken checks a token over a SHA-256.
func checkToken(token, sum []byte, roots *x509.CertPool) (*tstInfo, error) {
	var outer contentInfo
	var data signedData
	var info tstInfo
	if err := parse(token, &outer); err != nil {
		return nil, err
	}
	if !outer.Type.Equal(oidSignedData) {
		return nil, errors.New("it is not signed data")
	}
	if err := parse(outer.Content.Bytes, &data); err != nil {
		return nil, err
	}
	if !data.Content.Type.Equal(oidTSTInfo) || len(data.Signers) != 1 {
		return nil, errors.New("it is not a time-stamp with one signer")
	}
	if err := parse(data.Content.Content, &info); err != nil {
		return nil, err
	}
	if !info.Imprint.Algorithm.Algorithm.Equal(oidSHA256) || !bytes.Equal(info.Imprint.Hash, sum) {
		return nil, errors.New("it is over something else")
	}
	certs, err := x509.ParseCertificates(data.Certificates.Bytes)
	if err != nil {
		return nil, fmt.Errorf("its certificates: %w", err)
	}
	signer := &data.Signers[0]
	cert, err := signer.certificate(certs)
	if err != nil {
		return nil, err
	}
	if err := signer.check(cert, data.Content.Content); err != nil {
		return nil, err
	}
	others := x509.NewCertPool()
	for _, c := range certs {
		others.AddCert(c)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, Intermediates: others, CurrentTime: info.Time,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}}); err != nil {
		return nil, fmt.Errorf("its certificate: %w", err)
	}
	return &info, nil
}

// certificate finds the signer's among those of the token.
func (s *signerInfo) certificate(certs []*x509.Certificate) (*x509.Certificate, error) {
	var id issuerAndSerial
	if err := parse(s.Signer.FullBytes, &id); err != nil {
		return nil, fmt.Errorf("its signer is not named by issuer and serial number: %w", err)
	}
	for _, c := range certs {
		if bytes.Equal(c.RawIssuer, id.Issuer.FullBytes) && c.SerialNumber.Cmp(id.Serial) == 0 {
			return c, nil
		}
	}
	return nil, errors.New("the certificate of its signer is not in it")
}

// check checks the signature over the content, and that the signer meant this
// very certificate.
func (s *signerInfo) check(cert *x509.Certificate, content []byte) error {
	hash, err := hashOf(s.Digest.Algorithm)
	if err != nil {
		return err
	}
	if len(s.Signed.FullBytes) == 0 {
		return errors.New("it has no signed attributes")
	}
	// They are signed as the set that they are, not under the tag they have here.
	set := bytes.Clone(s.Signed.FullBytes)
	set[0] = asn1.TagSet | 0x20
	var isTime, isContent, isCert bool
	for rest := s.Signed.Bytes; len(rest) > 0; {
		var a attribute
		if rest, err = asn1.Unmarshal(rest, &a); err != nil {
			return fmt.Errorf("its signed attributes: %w", err)
		}
		switch {
		case a.Type.Equal(oidContentType):
			var oid asn1.ObjectIdentifier
			isTime = parse(a.Values.Bytes, &oid) == nil && oid.Equal(oidTSTInfo)
		case a.Type.Equal(oidDigest):
			var d []byte
			isContent = parse(a.Values.Bytes, &d) == nil && bytes.Equal(d, digest(hash, content))
		case a.Type.Equal(oidSigningCert):
			var c signingCertificateV1
			sum := sha1.Sum(cert.Raw) //nolint:gosec // see the import
			isCert = isCert || parse(a.Values.Bytes, &c) == nil && len(c.Certificates) > 0 && bytes.Equal(c.Certificates[0].Hash, sum[:])
		case a.Type.Equal(oidSigningV2):
			var c signingCertificateV2
			if parse(a.Values.Bytes, &c) == nil && len(c.Certificates) > 0 {
				h := crypto.SHA256
				if oid := c.Certificates[0].Algorithm.Algorithm; len(oid) > 0 {
					if h, err = hashOf(oid); err != nil {
						return err
					}
				}
				isCert = isCert || bytes.Equal(c.Certificates[0].Hash, digest(h, cert.Raw))
			}
		}
	}
	if !isTime || !isContent || !isCert {
		return errors.New("what was signed is not this time-stamp by this certificate")
	}
	algorithm := signatureAlgorithm(cert, hash)
	if algorithm == x509.UnknownSignatureAlgorithm {
		return errors.New("its signature is of a kind that is not known: use RSA, ECDSA or Ed25519")
	}
	if err := cert.CheckSignature(algorithm, set, s.Signature); err != nil {
		return fmt.Errorf("its signature: %w", err)
	}
	return nil
}

func signatureAlgorithm(cert *x509.Certificate, hash crypto.Hash) x509.SignatureAlgorithm {
	var list map[crypto.Hash]x509.SignatureAlgorithm
	switch cert.PublicKey.(type) {
	case *rsa.PublicKey:
		list = map[crypto.Hash]x509.SignatureAlgorithm{crypto.SHA256: x509.SHA256WithRSA, crypto.SHA384: x509.SHA384WithRSA, crypto.SHA512: x509.SHA512WithRSA}
	case *ecdsa.PublicKey:
		list = map[crypto.Hash]x509.SignatureAlgorithm{crypto.SHA256: x509.ECDSAWithSHA256, crypto.SHA384: x509.ECDSAWithSHA384, crypto.SHA512: x509.ECDSAWithSHA512}
	case ed25519.PublicKey:
		return x509.PureEd25519
	}
	return list[hash]
}
