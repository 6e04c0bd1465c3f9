/*
 * The lease protocol of the queue, for SPIN. README.md says what is left out and
 * which Go code each step stands for.
 *
 * Two workers and a reaper work jobs that may be tried MAX times. Worker 0 has two
 * slots, because some races need two goroutines of one worker; worker 1 has one.
 * Every step is one indivisible act of the database or of one goroutine, and any
 * goroutine may stand still before each of its steps for as long as it likes: that
 * is what a frozen process, a slow network and a late answer look like from here.
 *
 * Nothing waits for a clock. A lease may run out at any moment while a job runs, so
 * what holds here holds for every length of a lease and every error of a clock.
 *
 * Each BROKEN_... leaves out one safeguard. SPIN must find the harm that it averts;
 * a check that has never failed proves nothing.
 */

#ifndef JOBS
#define JOBS 2    /* 1 or 2 */
#endif
#ifndef MAX
#define MAX 2     /* attempts of a job */
#endif
#ifndef FAULTS
#define FAULTS 3  /* crashes, lost answers and releases in one run, in any mix */
#endif

#define WORKERS 2
#define SLOTS   3
#define W(s)    ((s) / 2)  /* whose slot it is */
#define GONE    WORKERS    /* the id of a worker that died; its next life has a fresh one */

/* How a claim ends. Only the last two are final. */
#define RELEASED  1
#define RETRYING  2
#define SUCCEEDED 3
#define FAILED    4

/*
 * A job with its row. That a row is in ready and that it is in running are two bits
 * and not one state, so that a job can be lost or be in both.
 */
typedef Job {
	bit  ready;
	bit  running;
	byte attempt;  /* attempts made while it waits, the one being made while it runs */
	byte lease;
	byte worker;   /* who runs it */
	byte locker;   /* 1 + the worker whose open transaction holds the row in ready */
	byte final;

	/* These two are read by the assertions only. */
	byte ended;    /* rows in attempts */
	byte last      /* the newest lease that was ended */
}
Job job[JOBS];

/* Where a slot's goroutine stands. */
#define IDLE    0
#define HALF    1  /* of the two-step claim only: out of ready, not yet in running */
#define SENT    2  /* its claim is an open transaction */
#define LANDED  3  /* its claim is committed, the answer is on its way */
#define FLYING  4  /* its attempt runs; from here on the worker knows of the claim */
#define WAITING 5  /* its outcome waits for the settler */
#define STORING 6  /* its outcome is in the batch whose answer is awaited */

typedef Slot {
	byte at;
	byte job;
	byte lease;
	byte attempt;
	byte outcome
}
Slot slot[SLOTS];

bit  orphans[WORKERS];  /* a claim failed: some of its jobs may be ours */
byte faults;

#define EITHER(test, w)    (test(0, w) || test(1, w) || test(2, w))
#define SOME(test, w, j)   (test(0, w, j) || test(1, w, j) || test(2, w, j))
#define OWNS(s, w, j)      (W(s) == (w) && slot[s].job == (j))
#define SAME_LEASE(s, j)   (slot[s].lease == job[j].lease)

/* The slot holds the claim that stands in running, or its answer is on the way. */
#define HAS(s, w, j) (OWNS(s, w, j) && slot[s].at >= LANDED && SAME_LEASE(s, j))

/* The slot makes its worker tell the release to spare the row. */
#ifdef BROKEN_KNOWN_BY_ID
#define KNOWS(s, w, j) (OWNS(s, w, j) && slot[s].at >= FLYING)
#else
#define KNOWS(s, w, j) (OWNS(s, w, j) && slot[s].at >= FLYING && SAME_LEASE(s, j))
#endif

/* The slot holds its worker's claiming lock: from the claim to the known jobs. */
#ifdef BROKEN_ORPHANS
#define CLAIMING(s, w) false
#else
#define CLAIMING(s, w) (W(s) == (w) && slot[s].at >= HALF && slot[s].at <= LANDED)
#endif

/* A claim that the worker gave up may yet be committed. */
#ifdef BROKEN_LATE_CLAIM
#define IN_DOUBT(w) false
#elif JOBS == 1
#define IN_DOUBT(w) (job[0].locker == 1 + (w))
#else
#define IN_DOUBT(w) (job[0].locker == 1 + (w) || job[1].locker == 1 + (w))
#endif

/* What a settle asks of the row in running. */
#if defined BROKEN_NO_FENCE
#define FENCE(s, j) true
#elif defined BROKEN_ATTEMPT_FENCE
#define FENCE(s, j) (slot[s].attempt == job[j].attempt)
#else
#define FENCE(s, j) SAME_LEASE(s, j)
#endif

#if JOBS == 1
#define ALL_FINAL (job[0].final)
#else
#define ALL_FINAL (job[0].final && job[1].final)
#endif

#define IN_HALF(s, w, j) (slot[s].at == HALF && slot[s].job == (j))
#define HALVES(j)        (IN_HALF(0, 0, j) + IN_HALF(1, 0, j) + IN_HALF(2, 1, j))

/* What must hold after every step of the database. */
inline check() {
	for (k : 0 .. JOBS - 1) {
		/* A job waits, runs or has ended. What a living worker of the two-step claim
		   has in its memory is let pass: the harm is that it dies with the worker. */
		assert(job[k].ready + job[k].running + (job[k].final != 0) + HALVES(k) == 1);
		/* Every attempt is counted once, and a claim that was given back never. */
		assert(job[k].ended <= MAX);
		assert(!job[k].ready || (job[k].attempt == job[k].ended && job[k].attempt < MAX));
		assert(!job[k].running || job[k].attempt == job[k].ended + 1);
		/* What runs in a living worker's name is in its hands, or it will look for it. */
		assert(!job[k].running || job[k].worker == GONE || orphans[job[k].worker] || SOME(HAS, job[k].worker, k))
	}
	k = 0
}

/* Takes the row out of running; whoever calls it has passed the fence. */
inline finish(j, how) {
	assert(job[j].running);
	assert(!job[j].final);
	assert(job[j].lease > job[j].last);  /* one end for each lease, in their order */
	job[j].last = job[j].lease;
	job[j].running = 0;
	job[j].worker = 0;
	if
	:: how == RELEASED -> job[j].attempt--; job[j].ready = 1
	:: how == RETRYING -> job[j].ended++; job[j].ready = 1
	:: else -> job[j].ended++; job[j].final = how
	fi
}

/* Moves the row from ready to running. */
inline move(j, w) {
	job[j].ready = 0;
	job[j].running = 1;
	job[j].attempt++;
	job[j].lease++;
	job[j].worker = w;
	job[j].locker = 0
}

inline clear(s) {
	slot[s].at = IDLE;
	slot[s].job = 0;
	slot[s].lease = 0;
	slot[s].attempt = 0;
	slot[s].outcome = 0
}

/* Runs the statement of a claim: it locks its row, which others then skip. */
inline claim(s, j) {
	d_step {
		slot[s].at == IDLE && !EITHER(CLAIMING, W(s)) && job[j].ready && !job[j].locker ->
		slot[s].job = j;
		slot[s].lease = job[j].lease + 1;
		slot[s].attempt = job[j].attempt + 1;
#ifdef BROKEN_TWO_STEP_CLAIM
		slot[s].at = HALF;
		job[j].ready = 0
#else
		slot[s].at = SENT;
		job[j].locker = 1 + W(s)
#endif
	}
}

/* Gives back what runs in the worker's name without its knowing. */
inline release(w) {
	for (j : 0 .. JOBS - 1) {
		if
		:: job[j].running && job[j].worker == w && !SOME(KNOWS, w, j) ->
			assert(!SOME(HAS, w, j));  /* what is given back is in nobody's hands */
			finish(j, RELEASED)
		:: else
		fi
	}
	j = 0
}

#ifdef BROKEN_LATE_RELEASE
/* A release that the worker gave up and the server has yet to read. It carries the
   leases to spare as the worker knew them when it sent it. */
typedef Late {
	bit  sent;
	byte spared[JOBS]
}
Late late[WORKERS];

inline sendLate(w) {
	late[w].sent = 1;
	for (j : 0 .. JOBS - 1) {
		if
		:: job[j].running && SOME(KNOWS, w, j) -> late[w].spared[j] = job[j].lease
		:: else
		fi
	}
	j = 0
}

inline readLate(w) {
	d_step {
		late[w].sent ->
		for (j : 0 .. JOBS - 1) {
			if
			:: job[j].running && job[j].worker == w && job[j].lease != late[w].spared[j] ->
				assert(!SOME(HAS, w, j));
				finish(j, RELEASED)
			:: else
			fi;
			late[w].spared[j] = 0
		}
		late[w].sent = 0;
		j = 0
	}
}
#endif

#define MAY_RELEASE(s) (slot[s].at == IDLE && orphans[W(s)] && !EITHER(CLAIMING, W(s)))
#define HOLDS(s)       (job[slot[s].job].running && SAME_LEASE(s, slot[s].job))

/* A goroutine that claims into one slot and makes the attempt. */
proctype slots(byte s) {
	byte j, k;
end:	do
	:: claim(s, 0)
#if JOBS == 2
	:: claim(s, 1)
#endif
#ifdef BROKEN_TWO_STEP_CLAIM
	:: d_step {
		slot[s].at == HALF ->
		slot[s].at = LANDED;
		j = slot[s].job;
		move(j, W(s));
		j = 0;
		check()
	   }
#endif
	:: d_step { slot[s].at == LANDED -> slot[s].at = FLYING }
	/* The claim fails for the worker, whatever the server makes of it: it was
	   committed and its answer is lost, or its transaction is still open. */
	:: d_step {
		(slot[s].at == SENT || slot[s].at == LANDED) && faults < FAULTS ->
		faults++;
		orphans[W(s)] = 1;
		clear(s)
	   }

	:: d_step { MAY_RELEASE(s) -> release(W(s)); orphans[W(s)] = IN_DOUBT(W(s)); check() }
	/* The answer is lost, so the release will be made again. */
	:: d_step { MAY_RELEASE(s) && faults < FAULTS -> faults++; release(W(s)); check() }
#ifdef BROKEN_LATE_RELEASE
	:: d_step { MAY_RELEASE(s) && faults < FAULTS && !late[W(s)].sent -> faults++; sendLate(W(s)) }
#endif

	/* An extension changes but the clock, which is not here. One that finds the lease
	   lost ends the attempt without an outcome. */
	:: d_step { slot[s].at == FLYING && HOLDS(s) -> skip }
	:: d_step { slot[s].at == FLYING && !HOLDS(s) -> clear(s) }

	:: d_step { slot[s].at == FLYING -> slot[s].at = WAITING; slot[s].outcome = SUCCEEDED }
	:: d_step {
		slot[s].at == FLYING ->
		slot[s].at = WAITING;
		slot[s].outcome = (slot[s].attempt >= MAX -> FAILED : RETRYING)
	   }
	:: d_step {
		slot[s].at == FLYING && faults < FAULTS ->
		faults++;
		slot[s].at = WAITING;
		slot[s].outcome = RELEASED
	   }
	od
}

#define AT_WAITING(s, w) (W(s) == (w) && slot[s].at == WAITING)
#define AT_STORING(s, w) (W(s) == (w) && slot[s].at == STORING)

/* Commits a batch: the one whose answer was lost, else all outcomes that wait. */
inline store(w) {
	if
	:: EITHER(AT_STORING, w)
	:: else ->
		for (s : 0 .. SLOTS - 1) {
			if
			:: AT_WAITING(s, w) -> slot[s].at = STORING
			:: else
			fi
		}
	fi;
	for (s : 0 .. SLOTS - 1) {
		j = slot[s].job;
		if
		:: AT_STORING(s, w) && job[j].running && FENCE(s, j) ->
			assert(SAME_LEASE(s, j));  /* an old lease changes nothing */
			finish(j, slot[s].outcome);
			applied[s] = 1;
			ended[j] = 1
		:: else
		fi
	}
	for (s : 0 .. SLOTS - 1) {
#ifdef BROKEN_ANSWER_BY_ID
		/* The worker is told, and counts, what was ended and no more. */
		assert(!AT_STORING(s, w) || applied[s] == ended[slot[s].job]);
#endif
		applied[s] = 0
	}
	for (j : 0 .. JOBS - 1) {
		ended[j] = 0
	}
	s = 0;
	j = 0
}

/* The one goroutine of a worker that writes outcomes. A settle that failed outright
   is one that has not been sent yet, so only lost answers are steps of their own. */
proctype settler(byte w) {
	byte s, j, k;
	bit applied[SLOTS], ended[JOBS];
end:	do
	:: d_step {
		EITHER(AT_WAITING, w) || EITHER(AT_STORING, w) ->
		store(w);
		for (s : 0 .. SLOTS - 1) {
			if
			:: AT_STORING(s, w) -> clear(s)
			:: else
			fi
		}
		s = 0;
		check()
	   }
	:: d_step {
		(EITHER(AT_WAITING, w) || EITHER(AT_STORING, w)) && faults < FAULTS ->
		faults++;
		store(w);
		check()
	   }
	od
}

#define AWAITED(s, j) (slot[s].at == SENT && slot[s].job == (j))

/* The open transaction of a claim is committed. */
inline commit(j) {
	d_step {
		job[j].locker ->
		for (s : 0 .. SLOTS - 1) {
			if
			:: AWAITED(s, j) -> slot[s].at = LANDED
			:: else
			fi
		}
		s = 0;
		move(j, job[j].locker - 1);
		check()
	}
}

/* It may also be rolled back, when nobody waits for it any more. */
inline rollback(j) {
	d_step { job[j].locker && !EITHER(AWAITED, j) -> job[j].locker = 0 }
}

proctype server() {
	byte s, j, k;
end:	do
	:: commit(0)
	:: rollback(0)
#if JOBS == 2
	:: commit(1)
	:: rollback(1)
#endif
#ifdef BROKEN_LATE_RELEASE
	:: readLate(0)
	:: readLate(1)
#endif
	od
}

/* A worker dies with all that is in its memory; a claim that it sent may still land. */
proctype grave(byte w) {
	byte s, j, k;
end:	do
	:: d_step {
		faults < FAULTS && !ALL_FINAL ->
		faults++;
		for (s : 0 .. SLOTS - 1) {
			if
			:: W(s) == w -> clear(s)
			:: else
			fi
		}
		for (j : 0 .. JOBS - 1) {
			if
			:: job[j].running && job[j].worker == w -> job[j].worker = GONE
			:: job[j].locker == 1 + w -> job[j].locker = 1 + GONE
			:: else
			fi
		}
		s = 0;
		j = 0;
		orphans[w] = 0;
		check()
	   }
	od
}

/* Ends a lease that ran out as a crashed attempt. */
inline reap(j) {
	d_step {
		job[j].running ->
		finish(j, (job[j].attempt >= MAX -> FAILED : RETRYING));
		check()
	}
}

/* All others may wait for ever. The reaper may not before all jobs are final, so a
   job that nothing can move any more is an invalid end. */
proctype reaper() {
	byte k;
	do
#ifndef BROKEN_NO_REAPER
	:: reap(0)
#if JOBS == 2
	:: reap(1)
#endif
#endif
	:: ALL_FINAL -> break
	od
}

#ifdef LIVE
/* When no goroutine stands still for ever, every job becomes final. */
ltl every_job_ends { <> ALL_FINAL }
#endif

init {
	atomic {
		job[0].ready = 1;
#if JOBS == 2
		job[1].ready = 1;
#endif
		run slots(0); run slots(1); run slots(2);
		run settler(0); run settler(1);
		run server(); run grave(0); run grave(1); run reaper()
	}
}
