package sealed

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
)

// Errors of Open.
var (
	// ErrOtherKey means that the secret was sealed with a key that is not the
	// configured one, or that none is configured.
	ErrOtherKey = errors.New("the secret was sealed with another key")
	// ErrDamaged means that the bytes are not what Seal gave for this context.
	ErrDamaged = errors.New("the sealed secret is damaged or belongs elsewhere")
)

const (
	version    = 1
	unsealed   = 'p' // in place of a version: the secret follows as it is
	keySize    = 32
	nameSize   = 8
	headerSize = 1 + nameSize
)

// Box seals and opens secrets with one key. It may be shared by goroutines.
type Box struct {
	header []byte      // version and name of the key
	aead   cipher.AEAD // nil: there is no key
}

// Plain makes the Box of an operator who has set no key: it keeps secrets as they
// are. Every Box opens what it kept, so that a key can be set later.
func Plain() *Box { return &Box{} }

// New makes the Box of a key, 32 bytes in standard base64.
func New(key string) (*Box, error) {
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil || len(raw) != keySize {
		return nil, errors.New("the secret key must be 32 bytes in base64")
	}
	block, err := aes.NewCipher(raw)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	name := sha256.Sum256(raw)
	return &Box{header: append([]byte{version}, name[:nameSize]...), aead: aead}, nil
}

// Seal encrypts a secret for a context. Two seals of one secret differ.
func (b *Box) Seal(plain []byte, context string) []byte {
	if b.aead == nil {
		return append([]byte{unsealed}, plain...)
	}
	sealed := make([]byte, headerSize, headerSize+len(plain)+b.aead.Overhead())
	copy(sealed, b.header)
	return b.aead.Seal(sealed, nil, plain, b.bind(context)) //nolint:gosec // this AEAD takes no nonce: it draws one
}

// Open gives the secret that was sealed for this context. Its errors are
// ErrOtherKey and ErrDamaged.
func (b *Box) Open(sealed []byte, context string) ([]byte, error) {
	switch {
	case len(sealed) > 0 && sealed[0] == unsealed:
		return sealed[1:], nil
	case b.aead == nil && len(sealed) > headerSize && sealed[0] == version:
		return nil, ErrOtherKey
	case b.aead == nil:
		return nil, ErrDamaged
	}
	if len(sealed) < headerSize+b.aead.Overhead() || sealed[0] != version {
		return nil, ErrDamaged
	}
	if !bytes.Equal(sealed[:headerSize], b.header) {
		return nil, ErrOtherKey
	}
	plain, err := b.aead.Open(nil, nil, sealed[headerSize:], b.bind(context))
	if err != nil {
		return nil, ErrDamaged
	}
	return plain, nil
}

// bind is what a secret is tied to: the header, whose length is fixed, and then
// the context, so that no two pairs give the same bytes.
func (b *Box) bind(context string) []byte {
	return append(bytes.Clone(b.header), context...)
}
