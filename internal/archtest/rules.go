package archtest

// line is the order of the house, from left to right. A package imports only
// packages on steps before its own; packages on one step do not know each other.
var line = [][]string{
	{"migrations", "internal/fault", "internal/config", "internal/pattern", "internal/cron", "internal/client", "internal/sealed", "internal/archtest"},
	{"internal/pg", "internal/pg/devpg", "internal/httpapi", "internal/expression"},
	{"internal/pgtest", "internal/contract", "internal/forbidden"},
	{"internal/pgtest/withpg"},
	{"internal/idempotency", "internal/analytics", "internal/cloudevents"},
	{"internal/queue"},
	{"internal/intake", "internal/bulk"},
	{"internal/jobs"},
	{"internal/outbound", "internal/keys", "internal/attempts", "internal/queues", "internal/eventtypes", "internal/tenants", "internal/template"},
	{"internal/webhooks", "internal/email", "internal/httpcall", "internal/logline", "internal/external", "internal/command"},
	{"internal/rules"},
	{"internal/events"},
	{"internal/schedules", "internal/sources", "internal/replays", "internal/recovery"},
	{"internal/dashboard"},
	{"internal/app"},
	{"internal/bench", "internal/demo"},
	{"cmd/signalstack"},
}

// neighbours are the imports allowed within one step, by importer.
var neighbours = map[string][]string{
	// A bad setting is reported to the operator as a fault like any other.
	"internal/config": {"internal/fault"},
	"internal/sealed": {"internal/fault"},
	// The mistakes of a pattern are told like those of any other field.
	"internal/pattern": {"internal/fault"},
}

// testOnly packages are imported by test files and by each other, so that
// nothing a test needs ends up in the product.
var testOnly = []string{"internal/archtest", "internal/contract", "internal/forbidden", "internal/pgtest", "internal/pgtest/withpg"}

// importersOf names the only packages that may import the key.
var importersOf = map[string][]string{
	// Starting a database server is a decision of the composition root: a
	// library that could start one would one day do so in production.
	"internal/pg/devpg": {"internal/app", "internal/bench", "internal/pgtest", "internal/pgtest/withpg"},
}

// confined libraries are imported only by files that match one of the globs.
// Everything that knows the HTTP framework is found by file name, which keeps
// its next major version a mechanical change.
var confined = map[string][]string{
	"github.com/labstack/echo":      httpFiles,
	"github.com/danielgtaylor/huma": httpFiles,
	// It is the other side in tests; the product reads and writes CloudEvents itself.
	"github.com/cloudevents/sdk-go": {"internal/*/*_test.go"},
}

var httpFiles = []string{
	"internal/httpapi/*.go",
	"internal/*/http.go",
	"internal/app/roles.go",  // starts the server
	"internal/app/routes.go", // hands the API to the packages that have routes
}

// The size budget, in lines. A test file may be as long as its cases.
const (
	maxFileLines     = 500
	maxFunctionLines = 100
)

// emptyNames say nothing about what a package does; a helper belongs beside its
// only user, and with its second user into a package named for its work.
var emptyNames = []string{"common", "helper", "helpers", "misc", "model", "models", "services", "shared", "util", "utils"}

// rule is one line of the table of contents: what is checked, and by whom.
type rule struct {
	name  string
	check func(*tree) []Violation
}

// rules are all rules of the house, in the order in which they are reported.
var rules = []rule{
	{"listed", checkListed},       // every package stands on the line
	{"line", checkLine},           // imports go left, never right or sideways
	{"test-only", checkTestOnly},  // the product does not import test packages
	{"importers", checkImporters}, // some packages have named importers
	{"confined", checkConfined},   // some libraries have named places
	{"file-size", checkFileSize},  // maxFileLines
	{"func-size", checkFuncSize},  // maxFunctionLines
	{"no-init", checkNoInit},      // construction is explicit, in app
	{"no-sleep", checkNoSleep},    // wait with a timer that a context can end
	{"package-name", checkName},   // emptyNames
	{"package-doc", checkDoc},     // doc.go says what a package promises
}
