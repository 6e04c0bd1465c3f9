package pattern_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/pattern"
)

// orderData is about 1 KiB of data as shops send it.
const orderData = `{"order":{"id":"ord_8f14e45fceea167a","number":100482,"currency":"EUR","total":249.90,"tax":39.90,"paid":true,"coupon":null,
"customer":{"id":"cus_c9f0f895fb98ab91","email":"anna@example.com","name":"Anna Müller","tier":"gold","tags":["newsletter","b2c","returning"],
"address":{"street":"Hauptstra\u00dfe 5","city":"Berlin","zip":"10115","country":"DE"}},
"lines":[{"sku":"SKU-1001","title":"Espresso machine","quantity":1,"price":199.00,"attributes":{"color":"black","warranty_months":24}},
{"sku":"SKU-2040","title":"Coffee beans 1kg","quantity":2,"price":15.50,"attributes":{"color":"brown","warranty_months":0}},
{"sku":"SKU-3307","title":"Descaler","quantity":1,"price":19.90,"attributes":{"color":"white","warranty_months":0}}],
"shipping":{"method":"express","carrier":"DHL","estimate":"2026-11-25T12:00:00Z","parcels":[{"id":1,"weight":5.2},{"id":2,"weight":2.1}]}},
"previous":{"status":"pending"},"meta":{"ip":"203.0.113.7","agent":"checkout/4.2","trace":"4bf92f3577b34da6a3ce929d0e0e4736"}}`

// BenchmarkMatch is one event of 1 KiB against rules, parsing included:
//
//	go test -run '^$' -bench Match -benchmem ./internal/pattern
func BenchmarkMatch(b *testing.B) {
	deep := `"data":{"order":{"currency":["EUR"],"customer.tier":["gold","platinum"],"lines":{"sku":[{"prefix":"SKU-2"}],"quantity":[2]}}}`
	many := func(n int, format string) []string {
		rules := make([]string, n)
		for i := range rules {
			rules[i] = fmt.Sprintf(format, i)
		}
		return rules
	}
	for _, c := range []struct {
		name    string
		rules   []string
		matches int
	}{
		{"another type", []string{`{"type":["order.refunded"],` + deep + `}`}, 0},
		{"type alone", []string{`{"type":[{"prefix":"order."}]}`}, 1},
		{"inside data", []string{`{"type":["order.paid"],` + deep + `}`}, 1},
		{"100 rules of other types", many(100, `{"type":["order.%d"],`+deep+`}`), 0},
		{"100 rules inside data", many(100, `{"data":{"order":{"shipping":{"parcels":{"weight":[2.1],"id":[2,%d]}}}}}`), 100},
	} {
		b.Run(c.name, func(b *testing.B) {
			rules := make([]*pattern.Pattern, len(c.rules))
			for i, raw := range c.rules {
				rules[i] = compile(b, raw)
			}
			data, matched := []byte(orderData), 0
			b.ReportAllocs()
			for b.Loop() {
				matched = 0
				e := pattern.NewEvent(envelope, data)
				for _, rule := range rules {
					if rule.Match(e) {
						matched++
					}
				}
			}
			require.Equal(b, c.matches, matched)
		})
	}
}
