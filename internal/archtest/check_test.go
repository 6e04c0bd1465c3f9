package archtest

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// module is the root of every small tree; a case adds its files.
const module = "example.test/house"

// importing is a file that does nothing but import.
func importing(pkg, imported string) string {
	return "package " + pkg + "\n\nimport _ \"" + imported + "\"\n"
}

// lines is a piece of source padded to n lines: what stands before, filler, what stands after.
func lines(n int, before, after string) string {
	return before + strings.Repeat("\t_ = 0\n", n-strings.Count(before+after, "\n")) + after
}

// breaches are small trees, each with what one rule says about it; no words mean
// that the rule is content.
var breaches = []struct {
	rule, name string
	files      map[string]string
	want       []string
}{
	{
		rule: "listed", name: "a package nobody placed",
		files: map[string]string{"internal/parcels/parcels.go": "package parcels\n"},
		want: []string{"internal/parcels: the package is not on the import line: " +
			"add it in internal/archtest/rules.go, to the leftmost step of `line` that is right of all it imports"},
	},
	{
		rule: "listed", name: "placed packages, tests alone, and source that is not the module's",
		files: map[string]string{
			"internal/queue/queue.go":       "package queue\n",
			"test/smoke_test.go":            "package smoke\n",
			"internal/pg/testdata/a/a.go":   "package a\n",
			"tools/go.mod":                  "module example.test/house/tools\n",
			"tools/tools.go":                "package tools\n",
			"data/left/behind.go":           "package left\n",
			".cache/x/x.go":                 "package x\n",
			"internal/queue/_draft/idea.go": "package idea\n",
		},
	},
	{
		rule: "line", name: "a step to the right",
		files: map[string]string{"internal/queue/claim.go": importing("queue", module+"/internal/jobs")},
		want:  []string{"internal/queue/claim.go:3: internal/queue imports internal/jobs, which stands to its right on the import line"},
	},
	{
		rule: "line", name: "a step sideways",
		files: map[string]string{"internal/email/email.go": importing("email", module+"/internal/webhooks")},
		want:  []string{"internal/email/email.go:3: internal/email imports internal/webhooks, its neighbour on the same step of the import line"},
	},
	{
		rule: "line", name: "the one sideways step allowed is not allowed the other way",
		files: map[string]string{
			"internal/config/config.go": importing("config", module+"/internal/fault"),
			"internal/fault/fault.go":   importing("fault", module+"/internal/config"),
		},
		want: []string{"internal/fault/fault.go:3: internal/fault imports internal/config, its neighbour on the same step of the import line"},
	},
	{
		rule: "line", name: "steps to the left, a test's step to the right, and another module of a like name",
		files: map[string]string{
			"internal/jobs/jobs.go":       importing("jobs", module+"/internal/queue"),
			"cmd/signalstack/main.go":     importing("main", module+"/internal/app"),
			"internal/queue/flow_test.go": importing("queue_test", module+"/internal/app"),
			"internal/fault/fault.go":     importing("fault", "example.test/houses/internal/app"),
		},
	},
	{
		rule: "test-only", name: "the product imports a test package",
		files: map[string]string{"internal/app/app.go": importing("app", module+"/internal/pgtest")},
		want:  []string{"internal/app/app.go:3: internal/pgtest is for tests and is imported by the product"},
	},
	{
		rule: "test-only", name: "tests and test packages import them",
		files: map[string]string{
			"internal/app/app_test.go":       importing("app", module+"/internal/pgtest"),
			"internal/pgtest/withpg/main.go": importing("main", module+"/internal/pgtest"),
		},
	},
	{
		rule: "importers", name: "a domain starts a database server",
		files: map[string]string{"internal/queue/queue.go": importing("queue", module+"/internal/pg/devpg")},
		want: []string{"internal/queue/queue.go:3: internal/pg/devpg may be imported only by " +
			"internal/app, internal/bench, internal/pgtest, internal/pgtest/withpg"},
	},
	{
		rule: "importers", name: "the composition root starts a database server",
		files: map[string]string{"internal/app/app.go": importing("app", module+"/internal/pg/devpg")},
	},
	{
		rule: "confined", name: "a store knows the HTTP framework",
		files: map[string]string{
			"internal/events/store.go":       importing("events", "github.com/labstack/echo/v4"),
			"internal/events/http/routes.go": importing("http", "github.com/danielgtaylor/huma/v2/adapters/humaecho"),
		},
		want: []string{
			"internal/events/http/routes.go:3: github.com/danielgtaylor/huma may be imported only in " +
				"internal/httpapi/*.go, internal/*/http.go, internal/app/roles.go, internal/app/routes.go",
			"internal/events/store.go:3: github.com/labstack/echo may be imported only in " +
				"internal/httpapi/*.go, internal/*/http.go, internal/app/roles.go, internal/app/routes.go",
		},
	},
	{
		rule: "confined", name: "the HTTP files know it, and a library may share the beginning of its name",
		files: map[string]string{
			"internal/httpapi/api.go":        importing("httpapi", "github.com/labstack/echo/v4/middleware"),
			"internal/events/http.go":        importing("events", "github.com/danielgtaylor/huma/v2"),
			"internal/app/routes.go":         importing("app", "github.com/danielgtaylor/huma/v2"),
			"internal/events/accept_test.go": importing("events", "github.com/labstack/echo/v4"),
			"internal/events/store.go":       importing("events", "github.com/labstack/echology"),
		},
	},
	{
		rule: "file-size", name: "one line too many",
		files: map[string]string{"internal/queue/queue.go": lines(maxFileLines+1, "package queue\n\nfunc claim() {\n", "}\n")},
		want:  []string{"internal/queue/queue.go: the file has 501 lines, more than 500: give one of its stories a file of its own"},
	},
	{
		rule: "file-size", name: "just enough, and a long test",
		files: map[string]string{
			"internal/queue/queue.go":      lines(maxFileLines, "package queue\n\nfunc claim() {\n", "}\n"),
			"internal/queue/queue_test.go": lines(maxFileLines+1, "package queue\n\nfunc cases() {\n", "}\n"),
		},
	},
	{
		rule: "func-size", name: "one line too many, in a function, a method and a literal",
		files: map[string]string{
			"internal/queue/claim.go":  "package queue\n\n" + lines(maxFunctionLines+1, "func claim() {\n", "}\n"),
			"internal/queue/reap.go":   "package queue\n\n" + lines(maxFunctionLines+1, "func (r *reaper) run() {\n", "}\n"),
			"internal/queue/settle.go": "package queue\n\n" + lines(maxFunctionLines+1, "var settle = func() {\n", "}\n"),
		},
		want: []string{
			"internal/queue/claim.go:3: claim has 101 lines, more than 100: split it by step and name the steps",
			"internal/queue/reap.go:3: run has 101 lines, more than 100: split it by step and name the steps",
			"internal/queue/settle.go:3: a function literal has 101 lines, more than 100: split it by step and name the steps",
		},
	},
	{
		rule: "func-size", name: "just enough under a long comment, and a long test",
		files: map[string]string{
			"internal/queue/queue.go": "package queue\n\n" + strings.Repeat("// Why.\n", 50) +
				lines(maxFunctionLines, "func claim() {\n", "}\n"),
			"internal/queue/queue_test.go": "package queue\n\n" + lines(maxFunctionLines+1, "func cases() {\n", "}\n"),
		},
	},
	{
		rule: "no-init", name: "in the product and in a test",
		files: map[string]string{
			"internal/jobs/kinds.go":     "package jobs\n\nfunc init() {}\n",
			"internal/jobs/jobs_test.go": "package jobs\n\nfunc init() {}\n",
		},
		want: []string{
			"internal/jobs/jobs_test.go:3: init runs unasked and takes no arguments: construct in internal/app",
			"internal/jobs/kinds.go:3: init runs unasked and takes no arguments: construct in internal/app",
		},
	},
	{
		rule: "no-init", name: "a method may have the name",
		files: map[string]string{"internal/jobs/jobs.go": "package jobs\n\nfunc (r *Runner) init() {}\n"},
	},
	{
		rule: "no-sleep", name: "called, passed on, and under another name",
		files: map[string]string{
			"internal/jobs/poll.go": "package jobs\n\nimport \"time\"\n\nfunc poll() { time.Sleep(1) }\n",
			"internal/jobs/wait.go": "package jobs\n\nimport clock \"time\"\n\nvar wait = clock.Sleep\n",
		},
		want: []string{
			"internal/jobs/poll.go:5: time.Sleep cannot be interrupted: select on a timer and the context",
			"internal/jobs/wait.go:5: clock.Sleep cannot be interrupted: select on a timer and the context",
		},
	},
	{
		rule: "no-sleep", name: "somebody else's Sleep, and a timer",
		files: map[string]string{
			"internal/jobs/jobs.go": "package jobs\n\nimport \"time\"\n\nfunc (r *Runner) run() { r.Sleep(); <-time.After(1) }\n",
			"internal/jobs/nap.go":  "package jobs\n\nfunc nap(time bed) { time.Sleep(1) }\n",
		},
	},
	{
		rule: "package-name", name: "by directory and by package clause",
		files: map[string]string{
			"internal/util/util.go":    "package util\n",
			"internal/jobs/helpers.go": "package helpers\n",
		},
		want: []string{
			`internal/jobs: "helpers" does not say what the package does`,
			`internal/util: "util" does not say what the package does`,
		},
	},
	{
		rule: "package-name", name: "a file may have the name of what it holds",
		files: map[string]string{"internal/jobs/models.go": "package jobs\n"},
	},
	{
		rule: "package-doc", name: "missing, elsewhere, of another package, below a build tag, and detached",
		files: map[string]string{
			"internal/a/a.go":   "package a\n",
			"internal/b/b.go":   "// Package b keeps its promise in the wrong file.\npackage b\n",
			"internal/c/doc.go": "// Package sea is spelt otherwise.\npackage c\n",
			"internal/d/doc.go": "// +build linux\n\n// Package d is told second.\npackage d\n",
			"internal/e/doc.go": "// Package e is not attached.\n\npackage e\n",
		},
		want: []string{
			`internal/a/doc.go: the file must exist and begin with "// Package a " and what it promises`,
			`internal/b/doc.go: the file must exist and begin with "// Package b " and what it promises`,
			`internal/c/doc.go: the file must exist and begin with "// Package c " and what it promises`,
			`internal/d/doc.go: the file must exist and begin with "// Package d " and what it promises`,
			`internal/e/doc.go: the file must exist and begin with "// Package e " and what it promises`,
		},
	},
	{
		rule: "package-doc", name: "told in doc.go; commands and packages outside internal need none",
		files: map[string]string{
			"internal/a/doc.go":              "// Package a adds.\npackage a\n",
			"internal/a/a.go":                "package a\n",
			"internal/pgtest/withpg/main.go": "package main\n",
			"migrations/embed.go":            "package migrations\n",
		},
	},
}

func TestRules(t *testing.T) {
	t.Parallel()
	for _, breach := range breaches {
		t.Run(breach.rule+"/"+breach.name, func(t *testing.T) {
			t.Parallel()
			broken, err := Check(moduleOf(breach.files))
			require.NoError(t, err)
			var got []string
			for _, violation := range broken {
				if violation.Rule == breach.rule {
					got = append(got, strings.TrimSuffix(violation.String(), " ["+breach.rule+"]"))
				}
			}
			require.Equal(t, breach.want, got)
		})
	}
}

func TestEveryRuleIsShownToFailAndToPass(t *testing.T) {
	t.Parallel()
	for _, rule := range rules {
		fails, passes := 0, 0
		for _, breach := range breaches {
			switch {
			case breach.rule != rule.name:
			case len(breach.want) > 0:
				fails++
			default:
				passes++
			}
		}
		require.Positive(t, fails, "no case breaks rule %s", rule.name)
		require.Positive(t, passes, "no case keeps rule %s", rule.name)
	}
}

func TestWhatCannotBeReadIsAnError(t *testing.T) {
	t.Parallel()
	for name, tree := range map[string]fstest.MapFS{
		"no module":   {"a.go": {Data: []byte("package a\n")}},
		"no path":     {"go.mod": {Data: []byte("go 1.26\n")}},
		"broken file": moduleOf(map[string]string{"internal/a/a.go": "package a\n\nfunc {\n"}),
	} {
		_, err := Check(tree)
		require.Error(t, err, name)
	}
}

// moduleOf is a tree with the files and a go.mod.
func moduleOf(files map[string]string) fstest.MapFS {
	fsys := fstest.MapFS{"go.mod": {Data: []byte("// The house.\nmodule " + module + "\n\ngo 1.26\n")}}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return fsys
}
