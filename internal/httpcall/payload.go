package httpcall

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/outbound"
	"github.com/signalstack/signalstack/internal/template"
)

// payload is what a job says of its request.
type payload struct {
	Method         string            `json:"method,omitempty" enum:"GET,HEAD,OPTIONS,DELETE,POST,PUT,PATCH" doc:"Default POST"`
	URL            string            `json:"url" minLength:"1" doc:"A template"`
	Headers        map[string]string `json:"headers,omitempty" doc:"Their values are templates"`
	Body           httpapi.JSON      `json:"body,omitempty" doc:"Its texts are templates. Default: data, or the event's data"`
	Data           httpapi.JSON      `json:"data,omitempty" doc:"What templates see as .data. Default: the event's data"`
	Templates      *bool             `json:"templates,omitempty" doc:"false sends url, headers and body as they stand"`
	ExpectedStatus httpapi.JSON      `json:"expected_status,omitempty" doc:"List of codes (200), classes (2xx) and ranges (200-204) that are success. Default: 2xx"`
	Result         httpapi.JSON      `json:"result,omitempty" doc:"A JSONPath into {status, headers, body} of the response, or an object of them"`
}

// Validate gives the mistakes that the schema does not know.
func (p payload) Validate() []fault.Detail {
	_, wrongStatus := readExpected(p.ExpectedStatus)
	_, wrongResult := readExtraction(p.Result)
	return slices.Concat(outbound.CheckHeaders("/headers", p.Headers), wrongStatus, wrongResult)
}

// templated says whether url, headers and body are templates: they need something to
// read. Without, they are what the application sends, who knows from where.
func (p payload) templated(later bool) bool {
	return (later || p.Data != nil) && (p.Templates == nil || *p.Templates)
}

// media is the Content-Type that the payload names, or "".
func (p payload) media() string {
	for name, value := range p.Headers {
		if strings.EqualFold(name, "Content-Type") {
			return value
		}
	}
	return ""
}

// isForm and isMarkup tell the media types whose values are escaped.
func isForm(media string) bool { return strings.Contains(media, "x-www-form-urlencoded") }

func isMarkup(media string) bool {
	return strings.Contains(media, "html") || strings.Contains(media, "xml")
}

// text is a body that is a JSON string under a Content-Type that is no JSON: it is
// sent as the text it holds.
func (p payload) text() (string, bool) {
	media := strings.ToLower(p.media())
	var text string
	if media == "" || strings.Contains(media, "json") || len(p.Body) == 0 || p.Body[0] != '"' || json.Unmarshal(p.Body, &text) != nil {
		return "", false
	}
	return text, true
}

// carriesBody tells methods under which the event's data goes along unasked.
func carriesBody(method string) bool {
	return method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch
}

// compiled is a payload whose templates have been parsed.
type compiled struct {
	url     *template.Template
	headers map[string]*template.Template
	text    *template.Template // of a body that is no JSON
	body    *document          // of one that is
}

// compile parses the templates and reports those that are none.
func (p payload) compile(budget *template.Budget) (compiled, []fault.Detail) {
	c := compiled{headers: make(map[string]*template.Template, len(p.Headers))}
	var mistakes []fault.Detail
	parse := func(pointer, source string, escape template.Escape) *template.Template {
		t, err := budget.Text(source, escape)
		if err != nil {
			mistakes = append(mistakes, fault.Detail{Pointer: pointer, Detail: "is no template: " + err.Error()})
		}
		return t
	}
	if template.Is(p.media()) {
		mistakes = append(mistakes, fault.Detail{Pointer: "/headers", Detail: "must name the Content-Type without a template: by it the body is escaped"})
	}
	c.url = parse("/url", p.URL, escapeURL)
	for _, name := range sortedNames(p.Headers) {
		c.headers[name] = parse("/headers/"+escapePointer(name), p.Headers[name], nil)
	}
	if text, ok := p.text(); ok {
		c.text = parse("/body", text, escapeOf(p.media()))
	} else if p.Body != nil {
		c.body = readDocument(p.Body, func(pointer, source string) *template.Template { return parse("/body"+pointer, source, nil) })
	}
	return c, mistakes
}

// render executes the templates. The payload that it gives has none any more.
func (c compiled) render(p payload, scope map[string]any) (payload, []fault.Detail) {
	var mistakes []fault.Detail
	execute := func(pointer string, t *template.Template) string {
		text, err := t.Render(scope)
		if err != nil {
			mistakes = append(mistakes, fault.Detail{Pointer: pointer, Detail: "cannot be rendered: " + err.Error()})
		}
		return text
	}
	dotted := template.Is(p.URL)
	p.URL = strings.TrimSpace(execute("/url", c.url))
	if dotted && len(mistakes) == 0 && hasDotSegment(p.URL) {
		mistakes = append(mistakes, fault.Detail{Pointer: "/url", Detail: "renders to a path with . or .. in it, which leads elsewhere"})
	}
	headers := make(map[string]string, len(c.headers))
	for _, name := range sortedNames(p.Headers) {
		headers[name] = execute("/headers/"+escapePointer(name), c.headers[name])
	}
	if len(mistakes) == 0 {
		mistakes = outbound.CheckHeaders("/headers", headers)
	}
	p.Headers = headers
	switch {
	case c.text != nil:
		p.Body, _ = json.Marshal(execute("/body", c.text)) // a text always can be
	case c.body != nil:
		p.Body = c.body.render(func(pointer string, t *template.Template) string { return execute("/body"+pointer, t) })
	}
	return p, mistakes
}

func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func escapePointer(s string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(s)
}
