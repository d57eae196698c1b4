package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// logKey returns a log's public key: as it was given, from the file that was named,
// or from beside the log.
func logKey(dir, given string) (string, error) {
	if given == "" {
		b, err := os.ReadFile(filepath.Join(dir, "log.vkey"))
		if err != nil {
			return "", fmt.Errorf("no --key given and none beside the log: %w", err)
		}
		return strings.TrimSpace(string(b)), nil
	}
	b, err := os.ReadFile(given)
	if err != nil {
		if strings.Count(given, "+") < 2 {
			return "", fmt.Errorf("--key: %w", err)
		}
		return given, nil
	}
	key := strings.TrimSpace(string(b))
	if key == "" {
		return "", errors.New("--key: the file is empty; it must hold the log's public key, one line of the form <origin>+<hash>+<key>")
	}
	return key, nil
}
