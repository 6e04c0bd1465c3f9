// Measures the lease protocol: node bench.mjs URL [JOBS] [CLIENTS] [BATCH]. It makes
// no-op jobs, has as many processes as CLIENTS claim and complete them in batches, and
// then measures from the answer of an insert to that of the claim that waits for it.
import { fork } from "node:child_process";
import http from "node:http";

const [url, jobs = 50_000, clients = 8, batch = 50] = process.argv.slice(2).map((v, i) => (i ? Number(v) : v));
const queue = process.env.BENCH_QUEUE ?? "bench" + Date.now();
const agent = new http.Agent({ keepAlive: true });

function post(path, body) {
  return new Promise((resolve, reject) => {
    const text = JSON.stringify(body);
    const request = http.request(url + path, {
      agent, method: "POST", headers: { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(text) },
    }, (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("end", () => {
        const answer = JSON.parse(Buffer.concat(parts).toString());
        if (response.statusCode >= 300) reject(new Error(JSON.stringify(answer)));
        else resolve(answer);
      });
    });
    request.on("error", reject);
    request.end(text);
  });
}

// client claims and completes until nothing comes any more.
async function client() {
  process.send({ ready: true });
  await new Promise((resolve) => process.once("message", resolve)); // until all are ready
  let done = 0;
  for (;;) {
    const { data } = await post("/jobs/claim", { queues: [queue], max: batch, wait: "1s", worker: "bench-" + process.pid });
    if (data.length === 0) break;
    await post("/leases/complete", data.map(({ lease }) => ({ lease })));
    done += data.length;
    process.send({ last: Date.now() });
  }
  process.send({ done });
}

async function throughput() {
  const made = { kind: "external", queue, payload: { text: "x".repeat(90) } };
  for (let left = jobs; left > 0; left -= 1000) await post("/jobs", Array(Math.min(left, 1000)).fill(made));
  let done = 0, last = 0, start = 0;
  const ready = [];
  await Promise.all(Array.from({ length: clients }, () => new Promise((resolve) => {
    const child = fork(import.meta.filename, process.argv.slice(2), { env: { ...process.env, BENCH_QUEUE: queue } });
    child.on("message", (m) => {
      done += m.done ?? 0;
      last = Math.max(last, m.last ?? 0);
      if (m.ready && ready.push(child) === clients) {
        start = Date.now();
        for (const c of ready) c.send("go");
      }
    });
    child.on("exit", resolve);
  })));
  const seconds = (last - start) / 1000;
  console.log(`${done} jobs by ${clients} clients in batches of ${batch}: ${Math.round(done / seconds)}/s (${seconds.toFixed(1)} s)`);
}

async function latency() {
  const took = [], after = [];
  for (let i = 0; i < 300; i++) {
    const claim = post("/jobs/claim", { queues: [queue], wait: "30s" });
    await new Promise((resolve) => setTimeout(resolve, 20)); // it waits
    const sent = performance.now();
    let inserted;
    const insert = post("/jobs", { kind: "external", queue }).then(() => { inserted = performance.now(); });
    const { data } = await claim;
    const claimed = performance.now();
    await insert;
    took.push(claimed - sent);
    after.push(Math.max(0, claimed - inserted));
    await post("/leases/complete", data.map(({ lease }) => ({ lease })));
  }
  for (const [what, all] of [["sending", took], ["answer", after]]) {
    all.sort((a, b) => a - b);
    const at = (p) => all[Math.floor(p * (all.length - 1))].toFixed(1);
    console.log(`claim answered after the ${what} of the insert, ${all.length} times: p50 ${at(0.5)} ms, p95 ${at(0.95)} ms, p99 ${at(0.99)} ms`);
  }
}

if (process.send) {
  await client();
  process.disconnect();
} else {
  await throughput();
  await latency();
}
agent.destroy();
