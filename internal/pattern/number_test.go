package pattern

import (
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func canonical(text string) string { return string(appendNumber(nil, text)) }

var number = rapid.StringMatching(`-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,24})?`)

func TestCanonicalNumberIsItsOwn(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := number.Draw(t, "number")
		once := canonical(text)
		require.Equal(t, once, canonical(once), text)
		require.Equal(t, once == "0", strings.Trim(strings.FieldsFunc(text, func(r rune) bool { return r == 'e' || r == 'E' })[0], "-0.") == "")
		if isCanonicalInteger(text) && !strings.ContainsAny(text, ".eE") {
			require.Equal(t, text, once)
		}
	})
}

// Small numbers are compared with big.Rat.
func TestCanonicalNumbersAreEqualWhenTheValuesAre(t *testing.T) {
	t.Parallel()
	small := rapid.StringMatching(`-?(0|[1-9]0{0,3}[0-9]?)(\.0{0,2}[0-9]0{0,2})?([eE][+-]?0?[0-4])?`)
	rapid.Check(t, func(t *rapid.T) {
		for range 20 {
			a, b := small.Draw(t, "a"), small.Draw(t, "b")
			x, ok := new(big.Rat).SetString(a)
			require.True(t, ok)
			y, ok := new(big.Rat).SetString(b)
			require.True(t, ok)
			require.Equal(t, x.Cmp(y) == 0, canonical(a) == canonical(b), "%s and %s", a, b)
			z, ok := new(big.Rat).SetString(canonical(a))
			require.True(t, ok)
			require.Zero(t, x.Cmp(z), "%s is written as %s", a, canonical(a))
		}
	})
}

// Numbers of any exponent keep their value when zeros move between the digits and
// the exponent, and change it when only the exponent moves.
func TestCanonicalNumberMovesZeros(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		digits := rapid.StringMatching(`-?[1-9][0-9]{0,24}`).Draw(t, "digits")
		exponent, _ := new(big.Int).SetString(rapid.StringMatching(`-?(9{16,19}|10{16,19}|[0-9]{1,30})`).Draw(t, "exponent"), 10)
		zeros := rapid.IntRange(0, 30).Draw(t, "zeros")
		shifted := new(big.Int).Sub(exponent, big.NewInt(int64(zeros)))
		fewer := new(big.Int).Add(exponent, big.NewInt(int64(zeros)))

		want := canonical(digits + "e" + exponent.String())
		require.Equal(t, want, canonical(digits+strings.Repeat("0", zeros)+"e"+shifted.String()))
		require.Equal(t, want, canonical(digits+"."+strings.Repeat("0", zeros+1)+"E"+exponent.String()))
		fraction := "0." + strings.Repeat("0", zeros) + strings.TrimPrefix(digits, "-")
		if strings.HasPrefix(digits, "-") {
			fraction = "-" + fraction
		}
		fewer.Add(fewer, big.NewInt(int64(len(strings.TrimPrefix(digits, "-")))))
		require.Equal(t, want, canonical(fraction+"e"+fewer.String()))
		require.NotEqual(t, want, canonical(digits+"e"+new(big.Int).Add(exponent, big.NewInt(1)).String()))
	})
}
