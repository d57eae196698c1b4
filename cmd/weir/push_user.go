package main

import (
	"errors"
	"fmt"

	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/pipeline/push"
)

// userFlags say which user of which deployment is meant.
type userFlags struct {
	Config string `default:"weir.yaml" help:"The daemon's configuration: where Redis is, the key of pseudonyms, the policy." placeholder:"FILE" type:"path"`
	User   string `required:"" help:"The user's id, as events have it. It is not printed." placeholder:"ID"`
}

// openPushes opens what the daemon of a configuration decides pushes with. Close
// the store.
func openPushes(file string) (*config.Config, *push.Policy, *push.Store, error) {
	cfg, err := loadConfig(file)
	if err != nil {
		return nil, nil, nil, err
	}
	if !cfg.PushesOn() {
		return nil, nil, nil, &hintError{errors.New("pushes are off: no topic of pushes is named"), "name the daemon's configuration with --config; input.pushes must be in it"}
	}
	policy, err := app.LoadPolicy(&cfg.Push)
	if err != nil {
		return nil, nil, nil, err
	}
	store, err := push.NewStore(push.Options{Config: cfg.Push, Consent: app.ConsentTopics(cfg)})
	if err != nil {
		return nil, nil, nil, err
	}
	return cfg, policy, store, nil
}

// awayError is the error of a Redis that gives no answer.
func awayError(err error) error {
	return &hintError{fmt.Errorf("ask redis: %w", err), "is it running, and is push.redis right? weir check --online --config FILE says what is wrong"}
}

// pushes returns a number of pushes in words.
func pushes[N int | int64](n N) string {
	if n == 1 {
		return "1 push"
	}
	return fmt.Sprintf("%d pushes", n)
}
