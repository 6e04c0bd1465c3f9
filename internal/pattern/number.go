package pattern

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// The canonical text of a number is one text for each value, so that numbers are
// equal when their texts are, and in order without arithmetic. An integer of up to
// maxPlain digits is written plainly; any other number as its significant digits,
// without a zero at either end and with a dot behind the first, and the power of
// ten that the first of them stands for: 1.50 is 1.5e0. Zero has no sign.
// Exponents are added up as text, so that 1e1000000000 costs as much as any other
// 12 bytes.
const maxPlain = 20

// isCanonicalInteger tells whether an integer in JSON is its own canonical text,
// as almost all are.
func isCanonicalInteger(text string) bool {
	digits := strings.TrimPrefix(text, "-")
	return len(digits) <= maxPlain && text != "-0"
}

// appendNumber appends the canonical text of a number in JSON.
func appendNumber(dst []byte, text string) []byte {
	mantissa, exponent := text, ""
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		mantissa, exponent = text[:i], text[i+1:]
	}
	begin := len(dst)
	if mantissa[0] == '-' {
		dst, mantissa = append(dst, '-'), mantissa[1:]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	shift := -int64(len(fraction))
	if whole == "0" {
		whole, fraction = "", strings.TrimLeft(fraction, "0")
		if fraction == "" {
			return append(dst[:begin], '0')
		}
	}
	first := len(dst)
	dst = append(append(dst, whole...), fraction...)
	for dst[len(dst)-1] == '0' {
		dst = dst[:len(dst)-1]
		shift++
	}
	return appendExponent(dst, first, exponent, shift)
}

// appendExponent ends a number whose significant digits begin at first and whose
// last digit stands for ten to the power of exponent, as it stood in the text, plus
// shift.
func appendExponent(dst []byte, first int, exponent string, shift int64) []byte {
	digits := int64(len(dst) - first)
	magnitude := strings.TrimLeft(exponent, "+-0")
	negative := strings.HasPrefix(exponent, "-")
	if len(magnitude) > maxExponent {
		return appendLongExponent(appendDot(dst, first), negative, magnitude, shift+digits-1)
	}
	power := int64(0)
	if magnitude != "" {
		power, _ = strconv.ParseInt(magnitude, 10, 64) // maxExponent digits fit
	}
	if negative {
		power = -power
	}
	power += shift
	if power >= 0 && digits+power <= maxPlain {
		return append(dst, "00000000000000000000"[:power]...)
	}
	return strconv.AppendInt(append(appendDot(dst, first), 'e'), power+digits-1, 10)
}

// maxExponent is how many digits of an exponent fit an int64 with room for a shift.
const maxExponent = 17

// appendDot sets the dot behind the first digit when there are more.
func appendDot(dst []byte, first int) []byte {
	if len(dst)-first < 2 {
		return dst
	}
	return slices.Insert(dst, first+1, '.')
}

// appendLongExponent is appendExponent for an exponent that no integer type
// holds. The shift, no greater than the text is long, cannot change its sign.
func appendLongExponent(dst []byte, negative bool, magnitude string, shift int64) []byte {
	dst = append(dst, 'e')
	if negative {
		dst, shift = append(dst, '-'), -shift
	}
	first := len(dst)
	dst = append(append(dst, '0'), magnitude...) // a digit of room for a carry
	for i := len(dst) - 1; shift != 0; i-- {
		shift += int64(dst[i] - '0')
		digit := (shift%10 + 10) % 10
		dst[i] = "0123456789"[digit]
		shift = (shift - digit) / 10
	}
	zeros := 0
	for dst[first+zeros] == '0' {
		zeros++
	}
	return slices.Delete(dst, first, first+zeros)
}

// compareNumbers orders two canonical texts by their exact values.
func compareNumbers(a, b string) int {
	minusA, minusB := a[0] == '-', b[0] == '-'
	switch {
	case minusA && minusB:
		return compareMagnitudes(b[1:], a[1:])
	case minusA:
		return -1
	case minusB:
		return 1
	}
	return compareMagnitudes(a, b)
}

func compareMagnitudes(a, b string) int {
	if a == "0" || b == "0" {
		return cmp.Compare(boolInt(a != "0"), boolInt(b != "0"))
	}
	digitsA, exponentA := scientific(a)
	digitsB, exponentB := scientific(b)
	return cmp.Or(
		compareExponents(exponentA, exponentB, len(a), len(b)),
		cmp.Compare(a[0], b[0]),
		strings.Compare(digitsA, digitsB),
	)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// scientific gives the significant digits behind the first one, and the exponent,
// which is empty for an integer that is written plainly.
func scientific(magnitude string) (digits, exponent string) {
	mantissa, exponent, _ := strings.Cut(magnitude, "e")
	if exponent == "" {
		return strings.TrimRight(mantissa[1:], "0"), ""
	}
	_, digits, _ = strings.Cut(mantissa, ".")
	return digits, exponent
}

// compareExponents orders exponents as scientific gives them, with the lengths of
// the magnitudes for those that are written plainly.
func compareExponents(a, b string, lenA, lenB int) int {
	if len(a) > maxExponent || len(b) > maxExponent {
		return compareIntegers(a, b)
	}
	return cmp.Compare(exponentValue(a, lenA), exponentValue(b, lenB))
}

func exponentValue(text string, length int) int64 {
	if text == "" {
		return int64(length - 1)
	}
	value, _ := strconv.ParseInt(text, 10, 64) // maxExponent digits fit
	return value
}

// compareIntegers orders integers without leading zeros of which at least one has
// more than maxExponent digits; an empty one is small.
func compareIntegers(a, b string) int {
	minusA, minusB := strings.HasPrefix(a, "-"), strings.HasPrefix(b, "-")
	if minusA != minusB {
		return boolInt(minusB) - boolInt(minusA)
	}
	order := cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
	if minusA {
		return -order
	}
	return order
}

// approximate gives the nearest float64 of a canonical text, or one on the same
// side of every bound: a smaller number never becomes the greater float64.
func approximate(text string) float64 {
	mantissa, exponent, _ := strings.Cut(text, "e")
	const enough = 40 // bytes of a mantissa: cutting off digits keeps the order
	if exponent != "" && (len(mantissa) > enough || len(exponent) > 6) {
		if len(exponent) > 6 {
			exponent = exponent[:6] // far beyond what a float64 holds, all the same
		}
		text = mantissa[:min(len(mantissa), enough)] + "e" + exponent
	}
	value, _ := strconv.ParseFloat(text, 64) // beyond the range: an infinity or zero
	return value
}
