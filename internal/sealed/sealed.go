package sealed

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
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

// Box seals with one key and opens with that and older ones. It may be shared by
// goroutines.
type Box struct {
	keys []key // the first seals; none: secrets are kept as they are
}

// key is a key with the header of what it sealed: version and name of the key.
type key struct {
	header []byte
	aead   cipher.AEAD
}

// Plain makes the Box of an operator who has set no key: it keeps secrets as they
// are. Every Box opens what it kept, so that a key can be set later.
func Plain() *Box { return &Box{} }

// New makes the Box of one key or of several with commas between them, each 32 bytes
// in standard base64. The first one seals; the others open what they sealed before.
func New(keys string) (*Box, error) {
	b := &Box{}
	for text := range strings.SplitSeq(keys, ",") {
		k, err := newKey(strings.TrimSpace(text))
		if err != nil {
			return nil, err
		}
		b.keys = append(b.keys, k)
	}
	return b, nil
}

func newKey(text string) (key, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(raw) != keySize {
		return key{}, errors.New("the secret key must be 32 bytes in base64, or several of them with commas between")
	}
	block, err := aes.NewCipher(raw)
	if err != nil {
		return key{}, fmt.Errorf("make cipher: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return key{}, fmt.Errorf("make cipher: %w", err)
	}
	name := sha256.Sum256(raw)
	return key{header: append([]byte{version}, name[:nameSize]...), aead: aead}, nil
}

// Seal encrypts a secret for a context. Two seals of one secret differ.
func (b *Box) Seal(plain []byte, context string) []byte {
	if len(b.keys) == 0 {
		return append([]byte{unsealed}, plain...)
	}
	k := b.keys[0]
	sealed := make([]byte, headerSize, headerSize+len(plain)+k.aead.Overhead())
	copy(sealed, k.header)
	return k.aead.Seal(sealed, nil, plain, k.bind(context)) //nolint:gosec // this AEAD takes no nonce: it draws one
}

// Header is how everything begins that Seal gives now. What begins otherwise was
// sealed with another key or kept as it was, and can be sealed anew.
func (b *Box) Header() []byte {
	if len(b.keys) == 0 {
		return []byte{unsealed}
	}
	return bytes.Clone(b.keys[0].header)
}

// Open gives the secret that was sealed for this context. Its errors are
// ErrOtherKey and ErrDamaged.
func (b *Box) Open(sealed []byte, context string) ([]byte, error) {
	switch {
	case len(sealed) > 0 && sealed[0] == unsealed:
		return sealed[1:], nil
	case len(sealed) <= headerSize || sealed[0] != version:
		return nil, ErrDamaged
	}
	for _, k := range b.keys {
		if !bytes.Equal(sealed[:headerSize], k.header) {
			continue
		}
		if len(sealed) < headerSize+k.aead.Overhead() {
			return nil, ErrDamaged
		}
		plain, err := k.aead.Open(nil, nil, sealed[headerSize:], k.bind(context))
		if err != nil {
			return nil, ErrDamaged
		}
		return plain, nil
	}
	return nil, ErrOtherKey
}

// bind is what a secret is tied to: the header, whose length is fixed, and then
// the context, so that no two pairs give the same bytes.
func (k key) bind(context string) []byte {
	return append(bytes.Clone(k.header), context...)
}
