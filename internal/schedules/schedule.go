package schedules

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
)

// Timing says when a schedule fires.
type Timing struct {
	Cron     string `json:"cron,omitempty" maxLength:"500" doc:"Minute, hour, day of month, month and day of week, or six fields with seconds first; or @hourly, @daily, @weekly, @monthly, @yearly, or @every with a duration" example:"30 9 * * MON-FRI"`
	Every    string `json:"every,omitempty" maxLength:"50" doc:"In place of cron: the time between two fires, such as 90s or 1h30m, counted from start, or else from the creation" example:"90s"`
	At       string `json:"at,omitempty" format:"date-time" doc:"In place of cron: the one time at which it fires"`
	Timezone string `json:"timezone,omitempty" maxLength:"100" doc:"The zone of cron, by its name in the IANA database; default UTC" example:"Europe/Berlin"`
	Start    string `json:"start,omitempty" format:"date-time" doc:"No fire before this time"`
	End      string `json:"end,omitempty" format:"date-time" doc:"No fire after this time"`
}

// MisfirePolicy says what becomes of fires that could not be in time, because nobody worked
// or the database was away for longer than 15 seconds.
type MisfirePolicy struct {
	Policy string `json:"policy,omitempty" enum:"skip,latest,all" doc:"skip: none is made up for; latest, the default: the newest one; all: those within window, at most max of them, the newest"`
	Window string `json:"window,omitempty" maxLength:"50" doc:"Of all: how far back; default 24h" example:"24h"`
	Max    *int   `json:"max,omitempty" minimum:"1" maximum:"500" doc:"Of all: how many at once; default 100"`
}

// Overlap policies.
const (
	overlapAllow  = "allow"
	overlapSkip   = "skip"
	overlapQueue  = "queue"
	overlapCancel = "cancel"
)

// Misfire policies.
const (
	misfireSkip   = "skip"
	misfireLatest = "latest"
	misfireAll    = "all"
)

// Rest is what a schedule says beside when and what.
type Rest struct {
	Jitter    string         `json:"jitter,omitempty" maxLength:"50" doc:"Each fire is put off by up to this time, by a part that depends on the schedule and the fire alone; at most the time between two fires" example:"30s"`
	Misfire   *MisfirePolicy `json:"misfire,omitempty" doc:"What becomes of fires that could not be in time"`
	Overlap   string         `json:"overlap,omitempty" enum:"allow,skip,queue,cancel" doc:"When the last run is still going, which is as long as a job of it has not ended: allow, the default, runs beside it; skip leaves the fire out; queue waits for its end; cancel ends it"`
	MaxQueued *int           `json:"max_queued,omitempty" minimum:"1" maximum:"100" doc:"Of overlap queue: how many fires may wait; default 10. More are left out"`
}

// NewSchedule is what a client may say of a schedule.
type NewSchedule struct {
	Timing
	Rest
	Name   string         `json:"name,omitempty" doc:"For people, and for signalstack apply; one tenant has each name once, but any number of schedules without one" example:"daily report"`
	Action ScheduleAction `json:"action" doc:"What each fire makes"`
	Paused *bool          `json:"paused,omitempty" doc:"Default false"`
	Tenant string         `json:"tenant,omitempty" doc:"Whose the schedule is, and what it makes; default: the caller's"`
}

// SchedulePatch changes the fields that it has.
type SchedulePatch struct {
	Name      *string         `json:"name,omitempty"`
	Cron      *string         `json:"cron,omitempty" maxLength:"500" doc:"Takes the place of cron, every or at"`
	Every     *string         `json:"every,omitempty" maxLength:"50" doc:"Takes the place of cron, every or at"`
	At        *string         `json:"at,omitempty" doc:"Takes the place of cron, every or at"`
	Timezone  *string         `json:"timezone,omitempty" maxLength:"100"`
	Start     *string         `json:"start,omitempty" doc:"An empty text is none"`
	End       *string         `json:"end,omitempty" doc:"An empty text is none"`
	Jitter    *string         `json:"jitter,omitempty" maxLength:"50" doc:"An empty text is none"`
	Misfire   *MisfirePolicy  `json:"misfire,omitempty" doc:"Replaces all of it"`
	Overlap   *string         `json:"overlap,omitempty" enum:"allow,skip,queue,cancel"`
	MaxQueued *int            `json:"max_queued,omitempty" minimum:"1" maximum:"100"`
	Action    *ScheduleAction `json:"action,omitempty" doc:"Replaces all of it"`
	Paused    *bool           `json:"paused,omitempty" doc:"As pause and resume"`
}

// spec is what the table keeps of a schedule as JSON.
type spec struct {
	Timing
	Rest
}

// Schedule is a schedule as it is shown.
type Schedule struct {
	ID     uuid.UUID `json:"id"`
	Tenant string    `json:"tenant"`
	Name   string    `json:"name,omitempty"`
	Timing
	Rest
	Action     ScheduleAction `json:"action"`
	State      string         `json:"state" enum:"active,paused,ended" doc:"ended: no fire comes any more"`
	NextFireAt *time.Time     `json:"next_fire_at,omitempty" doc:"The next fire, before any jitter"`
	LastFireAt *time.Time     `json:"last_fire_at,omitempty" doc:"The fire that made something last"`
	Fires      int64          `json:"fires" doc:"Fires that made something"`
	Missed     int64          `json:"missed" doc:"Fires that could not be in time"`
	Queued     int            `json:"queued" doc:"Fires that wait for the end of the last run"`
	CreatedAt  time.Time      `json:"created_at"`
	UpdatedAt  time.Time      `json:"updated_at"`
}

// DetailedSchedule is a schedule with what comes and what was.
type DetailedSchedule struct {
	Schedule
	NextFires []FireTime     `json:"next_fires" nullable:"false" doc:"The next ten, before any jitter; none while it is paused"`
	History   []ScheduleFire `json:"history" nullable:"false" doc:"The newest twenty; GET /schedules/{id}/fires has all that are kept"`
	Misfires  []Misfires     `json:"misfires" nullable:"false" doc:"The newest ten times at which fires turned out to be missed"`
}

// FireTime is when a schedule fires.
type FireTime struct {
	At    time.Time `json:"at" doc:"In UTC"`
	Local string    `json:"local" doc:"In the schedule's zone" example:"2027-03-28T03:00:00+02:00"`
}

// ScheduleFire is one that was.
type ScheduleFire struct {
	FireAt    time.Time  `db:"fire_at" json:"fire_at" doc:"As the schedule has it"`
	Manual    bool       `db:"manual" json:"manual" doc:"Somebody asked for it"`
	State     string     `db:"state" json:"state" enum:"made,queued,skipped,failed" doc:"queued: it waits for the end of the run before. skipped and failed say why in detail"`
	DueAt     time.Time  `db:"due_at" json:"due_at" doc:"With the jitter"`
	MadeAt    time.Time  `db:"made_at" json:"made_at" doc:"When its state came about, by the database's clock"`
	LatenessM float64    `db:"-" json:"lateness_ms" doc:"From due_at to made_at"`
	JobID     *uuid.UUID `db:"job_id" json:"job_id,omitempty" doc:"The job that it made"`
	EventID   *uuid.UUID `db:"event_id" json:"event_id,omitempty" doc:"The event that it emitted"`
	Detail    string     `db:"detail" json:"detail,omitempty"`
}

// Misfires are fires in a row that could not be in time.
type Misfires struct {
	NoticedAt time.Time `db:"noticed_at" json:"noticed_at"`
	From      time.Time `db:"first_at" json:"from" doc:"The first of them"`
	To        time.Time `db:"last_at" json:"to" doc:"The last of them"`
	Count     int64     `db:"missed" json:"count" doc:"How many they are"`
	Exact     bool      `db:"exact" json:"exact" doc:"false: they are more, counting stopped"`
	Made      int       `db:"made" json:"made" doc:"How many of them were made up for"`
	Policy    string    `db:"policy" json:"policy" enum:"skip,latest,all"`
}

// Validate gives the mistakes that need neither the kinds nor the database.
func (n NewSchedule) Validate() []fault.Detail {
	_, mistakes := n.spec().compile(time.Unix(0, 0))
	mistakes = append(mistakes, httpapi.CheckText("/name", n.Name, 200)...)
	return append(mistakes, httpapi.CheckName("/tenant", n.Tenant)...)
}

func (n NewSchedule) spec() spec { return spec{n.Timing, n.Rest} }

// apply changes a schedule and says whether it changes when it fires.
func (p SchedulePatch) apply(s *spec) (retimed bool) {
	before := s.Timing
	for _, f := range []struct {
		from *string
		to   *string
	}{{p.Cron, &s.Cron}, {p.Every, &s.Every}, {p.At, &s.At}} {
		if f.from != nil {
			s.Cron, s.Every, s.At = "", "", ""
		}
	}
	jitter := s.Jitter
	for _, f := range []struct {
		from *string
		to   *string
	}{
		{p.Cron, &s.Cron},
		{p.Every, &s.Every},
		{p.At, &s.At},
		{p.Timezone, &s.Timezone},
		{p.Start, &s.Start},
		{p.End, &s.End},
		{p.Jitter, &s.Jitter},
		{p.Overlap, &s.Overlap},
	} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	if p.Misfire != nil {
		s.Misfire = p.Misfire
	}
	if p.MaxQueued != nil {
		s.MaxQueued = p.MaxQueued
	}
	return s.Timing != before || s.Jitter != jitter
}

// Bounds of what a schedule may say.
const (
	shortest      = time.Second
	longest       = 10 * 366 * 24 * time.Hour
	defaultWindow = 24 * time.Hour
	defaultMax    = 100
	defaultQueued = 10
)

// compile makes the timing of a spec, or gives the mistakes that need no clock. An
// interval without a start counts from the anchor.
func (s spec) compile(anchor time.Time) (*timing, []fault.Detail) {
	c := &compiler{}
	t := c.timing(s.Timing, anchor)
	if s.Jitter != "" {
		t.jitter = c.duration("/jitter", s.Jitter, time.Millisecond, 24*time.Hour)
	}
	t.overlap, t.maxQueued = overlapAllow, defaultQueued
	if s.Overlap != "" {
		t.overlap = s.Overlap
	}
	if s.MaxQueued != nil {
		t.maxQueued = *s.MaxQueued
	}
	if s.MaxQueued != nil && t.overlap != overlapQueue {
		c.add("/max_queued", "goes with overlap queue only; remove it")
	}
	t.policy, t.window, t.most = misfireLatest, defaultWindow, defaultMax
	if m := s.Misfire; m != nil {
		if m.Policy != "" {
			t.policy = m.Policy
		}
		if m.Window != "" {
			t.window = c.duration("/misfire/window", m.Window, shortest, longest)
		}
		if m.Max != nil {
			t.most = *m.Max
		}
		if (m.Window != "" || m.Max != nil) && t.policy != misfireAll {
			c.add("/misfire/policy", "must be all where window or max are given")
		}
	}
	return t, c.mistakes
}

// compiler gathers mistakes.
type compiler struct{ mistakes []fault.Detail }

func (c *compiler) add(pointer, format string, args ...any) {
	c.mistakes = append(c.mistakes, fault.Detail{Pointer: pointer, Detail: fmt.Sprintf(format, args...)})
}

func (c *compiler) time(pointer, text string) time.Time {
	at, wrong := httpapi.ParseTime(pointer, text)
	c.mistakes = append(c.mistakes, wrong...)
	return at.UTC().Truncate(time.Microsecond)
}

func (c *compiler) duration(pointer, text string, least, most time.Duration) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil || d < least || d > most || d%time.Millisecond != 0 {
		c.add(pointer, "must be a duration such as 90s or 1h30m, from %s to %s in whole milliseconds", least, most)
		return least
	}
	return d
}
