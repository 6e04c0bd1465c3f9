package sealed_test

import (
	"bytes"
	"encoding/base64"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/sealed"
)

// keyOf gives the key of 32 equal bytes.
func keyOf(b byte) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, 32)) }

func boxOf(t testing.TB, b byte) *sealed.Box {
	t.Helper()
	box, err := sealed.New(keyOf(b))
	require.NoError(t, err)
	return box
}

func TestSecretOpensInItsContext(t *testing.T) {
	t.Parallel()
	for _, plain := range [][]byte{{}, []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), bytes.Repeat([]byte{0}, 100_000)} {
		kept := boxOf(t, 1).Seal(plain, "endpoint:1")
		got, err := boxOf(t, 1).Open(kept, "endpoint:1") // another process with the same key
		require.NoError(t, err)
		require.True(t, bytes.Equal(plain, got))
		if len(plain) > 0 {
			require.NotContains(t, string(kept), string(plain))
		}
	}
}

func TestTwoSealsDiffer(t *testing.T) {
	t.Parallel()
	box := boxOf(t, 1)
	first, second := box.Seal([]byte("secret"), ""), box.Seal([]byte("secret"), "")
	require.NotEqual(t, first, second)
}

func TestSecretDoesNotOpenElsewhere(t *testing.T) {
	t.Parallel()
	box := boxOf(t, 1)
	kept := box.Seal([]byte("secret"), "endpoint:1")
	for _, context := range []string{"", "endpoint:", "endpoint:2", "endpoint:11", "Endpoint:1"} {
		_, err := box.Open(kept, context)
		require.ErrorIs(t, err, sealed.ErrDamaged, "%q", context)
	}
}

func TestOtherKeyIsToldFromDamage(t *testing.T) {
	t.Parallel()
	kept := boxOf(t, 1).Seal([]byte("secret"), "endpoint:1")
	_, err := boxOf(t, 2).Open(kept, "endpoint:1")
	require.ErrorIs(t, err, sealed.ErrOtherKey)
	require.NotErrorIs(t, err, sealed.ErrDamaged)
}

func TestEveryChangedBitIsNoticed(t *testing.T) {
	t.Parallel()
	box := boxOf(t, 1)
	kept := box.Seal([]byte("secret"), "c")
	for i := range kept {
		for bit := range 8 {
			changed := bytes.Clone(kept)
			changed[i] ^= 1 << bit
			plain, err := box.Open(changed, "c")
			require.Error(t, err, "byte %d, bit %d", i, bit)
			require.Nil(t, plain)
		}
	}
}

func TestEveryTruncationIsNoticed(t *testing.T) {
	t.Parallel()
	box := boxOf(t, 1)
	kept := box.Seal([]byte("secret"), "c")
	for n := range kept {
		_, err := box.Open(kept[:n], "c")
		require.ErrorIs(t, err, sealed.ErrDamaged, "%d bytes", n)
	}
	_, err := box.Open(append(kept, 0), "c")
	require.ErrorIs(t, err, sealed.ErrDamaged)
}

func TestBadKeyIsRefusedAndNotRepeated(t *testing.T) {
	t.Parallel()
	for _, key := range []string{
		"", "hunter2", base64.StdEncoding.EncodeToString([]byte("hunter2")),
		base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("k"), 33)), keyOf(1) + "!hunter2",
		base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, 32)),
	} {
		_, err := sealed.New(key)
		require.Error(t, err, "%q", key)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func TestKeyCanBeSetLater(t *testing.T) {
	t.Parallel()
	kept := sealed.Plain().Seal([]byte("secret"), "c")
	for _, box := range []*sealed.Box{sealed.Plain(), boxOf(t, 1)} {
		got, err := box.Open(kept, "c")
		require.NoError(t, err)
		require.Equal(t, "secret", string(got))
	}
	_, err := sealed.Plain().Open(boxOf(t, 1).Seal([]byte("secret"), "c"), "c")
	require.ErrorIs(t, err, sealed.ErrOtherKey)
	_, err = sealed.Plain().Open(nil, "c")
	require.ErrorIs(t, err, sealed.ErrDamaged)
}

func TestBoxIsSharedByGoroutines(t *testing.T) {
	t.Parallel()
	box := boxOf(t, 1)
	results := make([][]byte, 50)
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() { results[i], _ = box.Open(box.Seal([]byte{byte(i)}, "c"), "c") })
	}
	wg.Wait()
	for i, got := range results {
		require.Equal(t, []byte{byte(i)}, got)
	}
}

// FuzzOpen opens any bytes: it never panics, and only what was sealed opens.
func FuzzOpen(f *testing.F) {
	box := boxOf(f, 1)
	f.Add([]byte{}, "")
	f.Add([]byte{1}, "c")
	f.Add(box.Seal(nil, "c"), "c")
	f.Add(box.Seal([]byte("secret"), "c"), "d")
	f.Add(bytes.Repeat([]byte{1}, 64), "c")
	f.Fuzz(func(t *testing.T, kept []byte, context string) {
		plain, err := box.Open(kept, context)
		if err != nil {
			require.Nil(t, plain)
			return
		}
		again, err := box.Open(box.Seal(plain, context), context)
		require.NoError(t, err)
		require.True(t, bytes.Equal(plain, again))
	})
}

func TestOlderKeysOpenAndTheFirstSeals(t *testing.T) {
	t.Parallel()
	old := boxOf(t, 1)
	both, err := sealed.New(keyOf(2) + " , " + keyOf(1))
	require.NoError(t, err)
	kept := old.Seal([]byte("secret"), "c")
	plain, err := both.Open(kept, "c")
	require.NoError(t, err)
	require.Equal(t, "secret", string(plain))
	require.False(t, bytes.HasPrefix(kept, both.Header()), "it is to be sealed anew")

	anew := both.Seal(plain, "c")
	require.True(t, bytes.HasPrefix(anew, both.Header()))
	plain, err = boxOf(t, 2).Open(anew, "c")
	require.NoError(t, err, "the old key is needed no more")
	require.Equal(t, "secret", string(plain))
	_, err = old.Open(anew, "c")
	require.ErrorIs(t, err, sealed.ErrOtherKey)

	_, err = sealed.New(keyOf(1) + ",")
	require.Error(t, err)
	require.True(t, bytes.HasPrefix(sealed.Plain().Seal([]byte("x"), ""), sealed.Plain().Header()))
}
