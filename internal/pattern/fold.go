package pattern

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// foldRune gives one rune for all that differ by case only: the least that
// Unicode's simple folding joins with it, such as K for k and for the Kelvin sign.
func foldRune(r rune) rune {
	if r < utf8.RuneSelf {
		if 'a' <= r && r <= 'z' {
			r -= 'a' - 'A'
		}
		return r
	}
	least := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		least = min(least, next)
	}
	return least
}

// appendFolded appends a text with its runes folded. Bytes that are no UTF-8, lone
// surrogates among them, stay as they are.
func appendFolded(dst []byte, text string) []byte {
	for text != "" {
		r, size := utf8.DecodeRuneInString(text)
		if r == utf8.RuneError && size == 1 {
			dst = append(dst, text[0])
		} else {
			dst = utf8.AppendRune(dst, foldRune(r))
		}
		text = text[size:]
	}
	return dst
}

func folded(text string) string { return string(appendFolded(nil, text)) }

// cutFoldedPrefix gives what stands behind a folded prefix in a text that is not
// folded yet.
func cutFoldedPrefix(text, prefix string) (rest string, ok bool) {
	for prefix != "" {
		want, size := utf8.DecodeRuneInString(prefix)
		have, width := utf8.DecodeRuneInString(text)
		if !sameFolded(want, have, prefix, text, size, width) {
			return "", false
		}
		prefix, text = prefix[size:], text[width:]
	}
	return text, true
}

// cutFoldedSuffix is cutFoldedPrefix from the end.
func cutFoldedSuffix(text, suffix string) (rest string, ok bool) {
	for suffix != "" {
		want, size := utf8.DecodeLastRuneInString(suffix)
		have, width := utf8.DecodeLastRuneInString(text)
		if !sameFolded(want, have, suffix[len(suffix)-size:], text[len(text)-width:], size, width) {
			return "", false
		}
		suffix, text = suffix[:len(suffix)-size], text[:len(text)-width]
	}
	return text, true
}

// sameFolded compares a folded rune with one that is not. Where either is a byte
// of no rune, the bytes are compared.
func sameFolded(want, have rune, wantText, haveText string, size, width int) bool {
	if want == utf8.RuneError && size == 1 || have == utf8.RuneError && width <= 1 {
		return size == width && strings.HasPrefix(haveText, wantText[:size])
	}
	return foldRune(have) == want
}
