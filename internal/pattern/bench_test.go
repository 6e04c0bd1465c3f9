package pattern_test

import (
	"fmt"
	"strings"
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

// many gives n rules of a format with the number of the rule in it.
func many(n int, format string) []string {
	rules := make([]string, n)
	for i := range rules {
		rules[i] = fmt.Sprintf(format, i)
	}
	return rules
}

// BenchmarkMatch is one event of 1 KiB against one rule, parsing included:
//
//	go test -run '^$' -bench Match -benchmem ./internal/pattern
func BenchmarkMatch(b *testing.B) {
	deep := `"data":{"order":{"currency":["EUR"],"customer.tier":["gold","platinum"],"lines":{"sku":[{"prefix":"SKU-2"}],"quantity":[2]}}}`
	for _, c := range []struct {
		name, rule string
		want       bool
	}{
		{"another type", `{"type":["order.refunded"],` + deep + `}`, false},
		{"type alone", `{"type":[{"prefix":"order."}]}`, true},
		{"inside data", `{"type":["order.paid"],` + deep + `}`, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			rule, data, matched := compile(b, c.rule), []byte(orderData), false
			b.ReportAllocs()
			for b.Loop() {
				matched = rule.Match(pattern.NewEvent(envelope, data))
			}
			require.Equal(b, c.want, matched)
		})
	}
}

// mixedRules are rules as tenants have them: of one type or several, and most of
// them with something that they ask of the data. Every operator is there.
func mixedRules(n int) []string {
	formats := []string{
		`{"type":["order.%d"]}`,
		`{"type":[{"prefix":"shop%d."}],"data":{"order":{"paid":[true]}}}`,
		`{"type":["order.paid"],"data":{"order":{"customer":{"id":["cus_%d"]}}}}`,
		`{"type":["order.paid"],"data":{"order":{"total":[{"numeric":[">=",%[1]d.3e3,"<",%[1]d.5e3]}],"currency":["EUR","USD"]}}}`,
		`{"type":["order.paid"],"data":{"order":{"lines":{"sku":[{"prefix":"SKU-1"}],"title":["Article %d"]}}}}`,
		`{"source":["shop"],"data":{"order":{"customer":{"email":[{"suffix":"@shop%d.example"}]}}}}`,
		`{"type":["order.paid"],"data":{"order":{"coupon":[{"anything-but":["SUMMER"]}],"customer":{"name":[{"equals-ignore-case":"customer %d"}]}}}}`,
		`{"type":["order.paid"],"data":{"meta":{"agent":[{"wildcard":"app%d/*"}]},"order":{"refund":[{"exists":false}]}}}`,
		`{"data":{"meta":{"ip":[{"cidr":"10.%d.0.0/16"}]}}}`,
		`{"type":["order.paid"],"$or":[{"data":{"order":{"id":["ord_%d"]}}},{"subject":["order-%[1]d"]}]}`,
	}
	rules := make([]string, n)
	for i := range rules {
		format, number := formats[i%len(formats)], i/len(formats)
		if strings.Contains(format, "cidr") {
			number %= 256
		}
		rules[i] = fmt.Sprintf(format, number)
	}
	return rules
}

// BenchmarkSet is one event of 1 KiB against sets of rules, parsing included. The
// cost must hardly grow with the rules:
//
//	go test -run '^$' -bench Set -benchmem -cpu 1 ./internal/pattern
func BenchmarkSet(b *testing.B) {
	const paid = `{"type":["order.paid"],"data":{"order":{`
	for _, c := range []struct {
		name, format string
		matching     string // one of the same kind that the event matches
	}{
		{"types alone", `{"type":["order.%d"]}`, `{"type":["order.paid"]}`}, // data is not even parsed
		{"distinct types", `{"type":["order.%d"],"data":{"order":{"currency":["EUR"]}}}`, paid + `"currency":["EUR"]}}}`},
		{
			"distinct prefixes of the type", `{"type":[{"prefix":"order.%d."}],"data":{"order":{"currency":["EUR"]}}}`,
			`{"type":[{"prefix":"order.p"}],"data":{"order":{"currency":["EUR"]}}}`,
		},
		{"distinct prefixes in data", paid + `"customer":{"id":[{"prefix":"cus_%d_"}]}}}}`, paid + `"customer":{"id":[{"prefix":"cus_c9"}]}}}}`},
		{"distinct numeric ranges", paid + `"number":[{"numeric":[">=",%[1]d.0e3,"<",%[1]d.4e3]}]}}}`, paid + `"number":[{"numeric":[">=",100480,"<",100490]}]}}}`},
		{"mixed", "", paid + `"customer":{"tier":["gold"]},"paid":[true]}}}`},
	} {
		for _, n := range []int{10, 1000, 10_000} {
			b.Run(fmt.Sprintf("%s/%d", c.name, n), func(b *testing.B) {
				rules := mixedRules(n - 1)
				if c.format != "" {
					rules = many(n-1, c.format)
				}
				set, data := pattern.NewSet(compileAll(b, append(rules, c.matching))), []byte(orderData)
				var hits []int
				b.ReportAllocs()
				for b.Loop() {
					hits = set.Match(pattern.NewEvent(envelope, data))
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
				require.Equal(b, []int{n - 1}, hits)
			})
		}
	}
}

// BenchmarkNewSet is what a change of the rules costs, without compiling them.
func BenchmarkNewSet(b *testing.B) {
	patterns := compileAll(b, mixedRules(10_000))
	b.ReportAllocs()
	for b.Loop() {
		pattern.NewSet(patterns)
	}
}
