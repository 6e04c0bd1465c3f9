package pattern

import (
	"cmp"
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

// Small numbers are ordered as big.Rat orders them, and their float64 never the
// other way round.
func TestCompareNumbers(t *testing.T) {
	t.Parallel()
	small := rapid.StringMatching(`-?(0|[1-9][0-9]{0,22})(\.[0-9]{1,4})?([eE][+-]?[0-9]{1,2})?`)
	rapid.Check(t, func(t *rapid.T) {
		texts := make([]string, 20)
		for i := range texts {
			texts[i] = small.Draw(t, "number")
		}
		for _, a := range texts {
			for _, b := range texts {
				x, _ := new(big.Rat).SetString(a)
				y, _ := new(big.Rat).SetString(b)
				require.Equal(t, x.Cmp(y), compareNumbers(canonical(a), canonical(b)), "%s and %s", a, b)
				if x.Cmp(y) < 0 {
					require.LessOrEqual(t, approximate(canonical(a)), approximate(canonical(b)), "%s and %s", a, b)
				}
			}
		}
	})
}

// Numbers that no float64 and no big.Rat holds, from the least to the greatest.
func TestCompareNumbersInOrder(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("7", 1000)
	ascending := []string{
		"-1e10000000000000000000001", "-1e10000000000000000000000", "-9.9e9999999999999999999999", "-" + long, "-1e999", "-1e400", "-1.5", "-1",
		"-1e-400", "-1e-10000000000000000000000", "-1e-10000000000000000000001", "0",
		"1e-10000000000000000000001", "1e-10000000000000000000000", "9.9e-10000000000000000000000", "1e-99999999999999999", "1e-1000000", "1e-400", "0.1", "0.11",
		"9007199254740992", "9007199254740993", "99999999999999999999", "100000000000000000000", "100000000000000000001", "1e400", "1.1e400", "1e401",
		"1e999", long, long + ".1", long + "0", "1e99999999999999999", "1e100000000000000000", "9.9e9999999999999999999999", "1e10000000000000000000000", "1e10000000000000000000001",
	}
	for i, a := range ascending {
		for j, b := range ascending {
			a, b := canonical(a), canonical(b)
			require.Equal(t, cmp.Compare(i, j), compareNumbers(a, b), "%s and %s", a, b)
			if i < j {
				require.LessOrEqual(t, approximate(a), approximate(b), "%s and %s", a, b)
			}
		}
	}
	// A mantissa that is cut off keeps its magnitude.
	require.InDelta(t, 7.777777777777777e300, approximate(canonical(strings.Repeat("7", 1<<20)+"e-1048275")), 1e290)
}
