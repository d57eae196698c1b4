package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// aged writes evidence of some days ago to the log of a configuration and seals it, and puts the
// ids of the records into $ID_TEXT and the file of their keys, below keys/, into $KEYS:
// aged CONFIG DAYS USER:TEXT ....
func aged(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 2, "aged config days user:text ...")
	cfg, err := config.Load(ts.MkAbs(args[0]))
	ts.Check(err)
	then := time.Now().AddDate(0, 0, -int(number(ts, args[1])))
	clock := func() time.Time { return then }
	ts.Check(os.MkdirAll(cfg.Evidence.Dir, 0o700))
	ring, err := evidence.OpenKeys(cfg.Evidence.Dir, keys.Options{Now: clock})
	ts.Check(err)
	o := app.EvidenceOptions(cfg)
	o.Keys, o.Now = ring, clock
	log, err := evidence.Open(o)
	ts.Check(err)
	for _, a := range args[2:] {
		user, text, _ := strings.Cut(a, ":")
		sum := sha256.Sum256([]byte(a))
		rec := evidence.Record{ID: evidence.ID(sum[:16]), Kind: evidence.KindHit, Class: evidence.ClassContent, Body: fmt.Appendf(nil, `{"text":%q}`, text),
			Subject: user, Terms: []evidence.Term{{Name: "account", Value: user}}}
		ts.Check(log.Append(context.Background(), []evidence.Record{rec}))
		ts.Setenv("ID_"+text, hex.EncodeToString(sum[:16]))
	}
	ts.Setenv("KEYS", "content/"+keys.MonthOf(then).String()+".keys")
	ts.Check(errors.Join(log.Seal(context.Background()), log.Close(), ring.Close()))
}
