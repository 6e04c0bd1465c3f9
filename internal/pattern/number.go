package pattern

import (
	"slices"
	"strconv"
	"strings"
)

// The canonical text of a number is one text for each value, so that numbers are
// equal when their texts are. An integer of up to maxPlain digits is written
// plainly; any other number as its significant digits, without a zero at either
// end, and the power of ten that the last of them stands for: 1.50 is 15e-1.
// Zero has no sign. Exponents are added up as text, so that 1e1000000000 costs
// as much as any other 12 bytes.
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
	return appendExponent(dst, len(dst)-first, exponent, shift)
}

// appendExponent ends a number of so many significant digits whose power of ten
// is the exponent, as it stood in the text, plus shift.
func appendExponent(dst []byte, digits int, exponent string, shift int64) []byte {
	magnitude := strings.TrimLeft(exponent, "+-0")
	negative := strings.HasPrefix(exponent, "-")
	if len(magnitude) > 17 {
		return appendLongExponent(dst, negative, magnitude, shift)
	}
	power := int64(0)
	if magnitude != "" {
		power, _ = strconv.ParseInt(magnitude, 10, 64) // 17 digits fit
	}
	if negative {
		power = -power
	}
	power += shift
	if power >= 0 && int64(digits)+power <= maxPlain {
		return append(dst, "00000000000000000000"[:power]...)
	}
	return strconv.AppendInt(append(dst, 'e'), power, 10)
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
