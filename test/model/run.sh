#!/usr/bin/env bash
# Searches every state of the model in lease.pml. The protocol must hold in all of
# them, and each broken twin must be caught. Exits 0 when that is so, 1 when not and
# 3 when a tool is missing. It takes about a minute and less than 1 GB.
set -euo pipefail

model=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/lease.pml
for tool in spin gcc; do
	if ! command -v "$tool" >/dev/null; then
		echo "$tool is missing; on Debian and Ubuntu: apt-get install spin gcc" >&2
		exit 3
	fi
done
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

# Searching for runs to a bad state keeps states compressed; a broken twin is
# searched in breadth, so that the run to the harm is the shortest there is; and a
# run that never ends is searched under weak fairness. NFAIR is what 10 processes need.
safety=(-DSAFETY -DCOLLAPSE)
shortest=(-DSAFETY -DBFS)
liveness=(-DCOLLAPSE -DNFAIR=4)

# search MODE DEFINES...: leaves SPIN's answer in the file answer.
search() {
	local -n mode=$1
	local fair=()
	if [[ $1 == liveness ]]; then fair=(-a -f); fi
	shift
	rm -f pan* ./*.trail
	if ! { spin -a "$@" "$model" && gcc -O2 -w -DMEMLIM=2000 "${mode[@]}" -o pan pan.c; } >answer 2>&1; then
		cat answer >&2
		exit 1
	fi
	./pan "${fair[@]}" >answer 2>&1 || true
}

failed=0
report() { # VERDICT NAME
	local states seconds
	states=$(awk '/states, stored/ { print $1; exit }' answer)
	seconds=$(awk '/elapsed time/ { print $4; exit }' answer)
	printf '%-7s %-46s %9s states %6s s\n' "$1" "$2" "${states:-no}" "${seconds:-?}"
}

# passes NAME MODE DEFINES...: no error, no part of the search cut off, and no step
# of the model that no run ever takes, which would make the result an empty one.
passes() {
	local name=$1
	shift
	search "$@"
	if grep -q 'errors: 0' answer &&
		! grep -Eqi 'search not completed|search depth too small|out of memory|truncated' answer &&
		! grep -E 'state [0-9]+, "' answer | grep -qv '"-end-"'; then
		report passes "$name"
		return
	fi
	failed=1
	report FAILED "$name"
	cat answer >&2
	if [[ -e lease.pml.trail ]]; then
		shift
		spin -k lease.pml.trail -p -g "$@" "$model" >&2
	fi
}

# caught TWIN MODE DEFINES...: the search ends with a property that does not hold,
# not with a mistake of the model.
caught() {
	local twin=$1
	shift
	search "$@" "-D$twin"
	if grep -q 'errors: 1' answer && grep -Eq 'assertion violated +[(!]|invalid end state \(|acceptance cycle \(' answer; then
		report caught "$twin"
		return
	fi
	failed=1
	report MISSED "$twin"
	cat answer >&2
}

passes "2 jobs of 2 attempts, 3 faults" safety
passes "1 job of 3 attempts, 4 faults" safety -DJOBS=1 -DMAX=3 -DFAULTS=4
passes "1 job of 3 attempts, 4 faults: it ends" liveness -DLIVE -DJOBS=1 -DMAX=3 -DFAULTS=4
for twin in NO_FENCE TWO_STEP_CLAIM ATTEMPT_FENCE ORPHANS KNOWN_BY_ID LATE_CLAIM LATE_RELEASE ANSWER_BY_ID; do
	caught "BROKEN_$twin" shortest -DJOBS=1
done
caught BROKEN_NO_REAPER liveness -DLIVE -DJOBS=1

exit "$failed"
