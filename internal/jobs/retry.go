package jobs

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/signalstack/signalstack/internal/fault"
)

// Policy says when a failed attempt is followed by the next. It is stored as the
// JSON it came as, so its durations are texts. What it leaves out has a default:
// the zero Policy is DefaultPolicy.
type Policy struct {
	Strategy string   `json:"strategy,omitempty" enum:"exponential,ladder" doc:"exponential (default): base times factor for each further attempt, up to cap; ladder: the waits one by one"`
	Base     string   `json:"base,omitempty" doc:"Wait after the first attempt of an exponential policy; default 5s" example:"5s"`
	Factor   float64  `json:"factor,omitempty" minimum:"1" maximum:"100" doc:"By how much each wait of an exponential policy is longer than the one before; default 2" example:"2"`
	Cap      string   `json:"cap,omitempty" doc:"Longest wait of an exponential policy; default 1h, or base when that is longer" example:"1h"`
	Ladder   []string `json:"ladder,omitempty" minItems:"1" maxItems:"100" nullable:"false" doc:"Waits after the first, second ... attempt of a ladder; the last one repeats" example:"[\"5s\",\"5m\",\"30m\"]"`
	Jitter   string   `json:"jitter,omitempty" enum:"full,proportional,none" doc:"full: anything from 0 to the wait (default of exponential); proportional: up to 20 % shorter or longer (default of ladder); none: exactly the wait"`
}

// What a policy may say.
const (
	exponential = "exponential"
	ladder      = "ladder"

	jitterFull         = "full"
	jitterProportional = "proportional"
	jitterNone         = "none"
)

// Defaults and bounds of what a policy says.
const (
	defaultBase   = 5 * time.Second
	defaultFactor = 2
	defaultCap    = time.Hour

	minBase   = time.Millisecond
	maxFactor = 100
	maxWait   = 30 * 24 * time.Hour
	maxRungs  = 100
	spread    = 0.2 // of proportional jitter, to either side
)

// DefaultPolicy is what the zero Policy means, written out: 5 s, 10 s, 20 s ... up
// to an hour, with full jitter.
func DefaultPolicy() Policy {
	return Policy{Strategy: exponential, Base: "5s", Factor: defaultFactor, Cap: "1h", Jitter: jitterFull}
}

// StandardLadder is the schedule that Standard Webhooks recommends: with ten
// attempts a receiver has more than three days to come back.
func StandardLadder() Policy {
	return Policy{
		Strategy: ladder, Jitter: jitterProportional,
		Ladder: []string{"5s", "5m", "30m", "2h", "5h", "10h", "14h", "20h", "24h"},
	}
}

// Validate gives every mistake, with pointers from the policy's root. Fields that
// mean nothing to the strategy are refused: they are a misunderstanding.
func (p Policy) Validate() []fault.Detail {
	var mistakes []fault.Detail
	switch p.Strategy {
	case "", exponential:
		mistakes = p.checkExponential()
	case ladder:
		mistakes = p.checkLadder()
	default:
		mistakes = []fault.Detail{{Pointer: "/strategy", Detail: "must be exponential or ladder"}}
	}
	switch p.Jitter {
	case "", jitterFull, jitterProportional, jitterNone:
	default:
		mistakes = append(mistakes, fault.Detail{Pointer: "/jitter", Detail: "must be full, proportional or none"})
	}
	return mistakes
}

func (p Policy) checkExponential() []fault.Detail {
	var mistakes []fault.Detail
	if p.Base != "" {
		mistakes = append(mistakes, checkDuration("/base", p.Base, minBase, maxWait)...)
	}
	if p.Factor != 0 && !(p.Factor >= 1 && p.Factor <= maxFactor) { // also when it is no number
		mistakes = append(mistakes, fault.Detail{Pointer: "/factor", Detail: fmt.Sprintf("must be from 1 to %d", maxFactor)})
	}
	if p.Cap != "" {
		least := waitOf(p.Base, minBase) // a cap below the first wait is a mistake
		mistakes = append(mistakes, checkDuration("/cap", p.Cap, least, maxWait)...)
	}
	if p.Ladder != nil {
		mistakes = append(mistakes, notOf("/ladder", exponential))
	}
	return mistakes
}

func (p Policy) checkLadder() []fault.Detail {
	var mistakes []fault.Detail
	if len(p.Ladder) == 0 || len(p.Ladder) > maxRungs {
		mistakes = append(mistakes, fault.Detail{Pointer: "/ladder", Detail: fmt.Sprintf("must have 1 to %d waits, such as [\"5s\", \"5m\", \"30m\"]", maxRungs)})
	}
	for i, rung := range p.Ladder {
		mistakes = append(mistakes, checkDuration("/ladder/"+strconv.Itoa(i), rung, 0, maxWait)...)
	}
	if p.Base != "" {
		mistakes = append(mistakes, notOf("/base", ladder))
	}
	if p.Factor != 0 {
		mistakes = append(mistakes, notOf("/factor", ladder))
	}
	if p.Cap != "" {
		mistakes = append(mistakes, notOf("/cap", ladder))
	}
	return mistakes
}

func notOf(pointer, strategy string) fault.Detail {
	return fault.Detail{Pointer: pointer, Detail: "means nothing to the strategy " + strategy + "; remove it"}
}

// Next gives the wait between an attempt that failed, counted from 1, and the
// next one. It depends on nothing but its arguments; random is in [0, 1). The
// wait is never negative and never longer than the cap (a ladder's rung), or
// 1.2 times that with proportional jitter. A policy that Validate would refuse
// falls back to the defaults: a job must go on whatever was stored.
func (p Policy) Next(attempt int, random float64) time.Duration {
	jitter := p.Jitter
	var wait time.Duration
	if p.Strategy == ladder && len(p.Ladder) > 0 {
		wait = p.rung(attempt)
		jitter = firstOf(jitter, jitterProportional)
	} else {
		wait = p.grow(attempt)
	}
	switch jitter {
	case jitterNone:
		return wait
	case jitterProportional:
		return time.Duration(float64(wait) * (1 - spread + 2*spread*random))
	default:
		return time.Duration(float64(wait) * random)
	}
}

// rung gives a wait of the ladder; the last one holds for all further attempts.
func (p Policy) rung(attempt int) time.Duration {
	at := min(max(attempt, 1), len(p.Ladder)) - 1
	return waitOf(p.Ladder[at], defaultBase)
}

// grow gives a wait of the exponential policy. The product is compared with the
// cap before it becomes a duration, so that nothing overflows: beyond the range
// of a float it is infinite, which is above any cap.
func (p Policy) grow(attempt int) time.Duration {
	base := waitOf(p.Base, defaultBase)
	limit := waitOf(p.Cap, max(defaultCap, base))
	factor := p.Factor
	if !(factor >= 1) {
		factor = defaultFactor
	}
	wait := float64(base) * math.Pow(factor, float64(max(attempt, 1)-1))
	if wait < float64(limit) {
		return time.Duration(wait)
	}
	return limit
}

// waitOf reads a wait and keeps it within bounds.
func waitOf(text string, otherwise time.Duration) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return otherwise
	}
	return min(d, maxWait)
}
