package main

import (
	"errors"
	"fmt"

	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/internal/kafka"
)

// brokersOf returns the configuration at a path, or the default one where there is
// none, with the brokers of a command line in its place. Without either it is a
// misuse, which says with missing what could not be found.
func brokersOf(path string, brokers []string, missing string) (*config.Config, error) {
	cfg := new(config.Default())
	switch {
	case path != "":
		var err error
		if cfg, err = loadConfig(path); err != nil {
			return nil, err
		}
	case len(brokers) == 0:
		return nil, &codeError{errors.New(missing), exitMisuse}
	}
	if len(brokers) > 0 {
		cfg.Kafka.Brokers = brokers
	}
	return cfg, nil
}

// putTopic puts the topic that a flag names, if it does, in the place of another.
func putTopic(flag, name string, place *string) error {
	switch {
	case name == "":
		return nil
	case !kafka.IsTopicName(name):
		return &codeError{fmt.Errorf("%s: %q is no name of a topic", flag, name), exitMisuse}
	}
	*place = name
	return nil
}
