// A worker of the lease protocol with no dependency: node worker.mjs URL QUEUE. What it
// does with a job is the script that all clients here have; see the README.
import { setTimeout as sleep } from "node:timers/promises";

const [url, queue] = process.argv.slice(2);
const lease = 5_000; // milliseconds
const slots = 4;
const stop = new AbortController(); // the worker is told to stop

// call posts, again and again while the server is away, and gives status and body.
async function call(path, body, signal) {
  for (;;) {
    let again = 1000;
    try {
      const response = await fetch(url + path, {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal,
      });
      const answer = await response.json();
      if (response.status < 500) return { status: response.status, answer };
      again = 1000 * Number(response.headers.get("Retry-After") || 1);
    } catch (error) {
      if (signal?.aborted) throw error;
    }
    await sleep(again, undefined, { signal });
  }
}

// Why a job is broken off.
const reasons = { canceled: "the job was canceled", lost: "the lease was lost", stopped: "the worker stops" };

// work does one job while a heartbeat keeps its lease, and says how it ended.
async function work(job) {
  const off = new AbortController();
  const stopped = () => off.abort(reasons.stopped);
  stop.signal.addEventListener("abort", stopped);
  const beat = setInterval(async () => {
    try {
      const { status, answer } = await call(`/leases/${job.lease}/extend`, { lease: lease + "ms" }, off.signal);
      if (status !== 200) off.abort(reasons.lost);
      else if (answer.canceled) off.abort(reasons.canceled);
    } catch {
      // it was broken off meanwhile
    }
  }, lease / 3);
  // A lost lease is 409: there is nothing more to say.
  const say = (what, body) => call(`/leases/${job.lease}/${what}`, body);
  try {
    await say("complete", { result: await perform(job, off.signal) });
  } catch (error) {
    if (off.signal.reason === reasons.stopped) await say("snooze", {});
    else if (off.signal.reason !== reasons.lost) {
      await say("fail", { error: String(off.signal.reason ?? error.message), retry: job.payload.retry !== false });
    }
  } finally {
    clearInterval(beat);
    stop.signal.removeEventListener("abort", stopped);
  }
}

// perform is the work: what the script says.
async function perform(job, signal) {
  const { do: what, seconds } = job.payload;
  if (what === "fail" && job.attempt === 1) throw new Error("told to fail");
  if (what === "crash" && job.attempt === 1) process.exit(3);
  if (what === "work") {
    await call(`/leases/${job.lease}/progress`, { progress: "working" }, signal);
    await sleep(seconds * 1000, undefined, { signal });
  }
  return { did: what, attempt: job.attempt };
}

const running = new Set();
process.on("SIGTERM", () => stop.abort());
process.on("SIGINT", () => stop.abort());

while (!stop.signal.aborted) {
  if (running.size === slots) {
    await Promise.race(running);
    continue;
  }
  try {
    const { status, answer } = await call("/jobs/claim", {
      queues: [queue], max: slots - running.size, wait: "20s", lease: lease + "ms", worker: "node-" + process.pid,
    }, stop.signal);
    if (status !== 200) throw new Error("claim: " + JSON.stringify(answer));
    for (const job of answer.data) {
      const done = work(job).finally(() => running.delete(done));
      running.add(done);
    }
  } catch (error) {
    if (!stop.signal.aborted) throw error;
  }
}
await Promise.all(running);
