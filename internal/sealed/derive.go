package sealed

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// Derive makes of each of the keys, as New takes them, a key of 32 bytes for another
// purpose (HKDF with SHA-256). Neither tells anything of the other.
func Derive(keys, purpose string) ([][]byte, error) {
	var derived [][]byte
	for text := range strings.SplitSeq(keys, ",") {
		raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
		if err != nil || len(raw) != keySize {
			return nil, errors.New("the secret key must be 32 bytes in base64, or several of them with commas between")
		}
		key, err := hkdf.Key(sha256.New, raw, nil, "signalstack "+purpose, keySize)
		if err != nil {
			return nil, fmt.Errorf("derive a key: %w", err)
		}
		derived = append(derived, key)
	}
	return derived, nil
}
