"""A worker of the lease protocol with no dependency: python3 worker.py URL QUEUE.

What it does with a job is the script that all clients here have; see the README.
"""
import json
import os
import signal
import sys
import threading
import urllib.error
import urllib.request

URL, QUEUE = sys.argv[1:]
LEASE = 5.0  # seconds
SLOTS = 4
CANCELED, LOST, STOPPED = "the job was canceled", "the lease was lost", "the worker stops"

stop = threading.Event()  # the worker is told to stop
lock = threading.Lock()
jobs = set()  # that run
free = threading.Semaphore(SLOTS)


def call(path, body, given_up=lambda: False):
    """Posts, again and again while the server is away, and gives status and body."""
    request = urllib.request.Request(URL + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    while True:
        again = 1.0
        try:
            with urllib.request.urlopen(request, timeout=90) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            if error.code < 500:
                return error.code, json.load(error)
            again = float(error.headers.get("Retry-After") or 1)
        except OSError:
            pass
        if given_up():
            return 0, None
        threading.Event().wait(again)


class Job:
    """One job in progress, whose heartbeat keeps its lease."""

    def __init__(self, job):
        self.job, self.off, self.reason = job, threading.Event(), None

    def break_off(self, reason):
        with lock:
            self.reason = self.reason or reason
        self.off.set()

    def say(self, what, body):
        return call(f"/leases/{self.job['lease']}/{what}", body, self.off.is_set if what == "extend" else lambda: False)

    def beat(self):
        while not self.off.wait(LEASE / 3):
            status, answer = self.say("extend", {"lease": f"{LEASE}s"})
            if status == 200 and answer["canceled"]:
                self.break_off(CANCELED)
            elif status not in (0, 200):
                self.break_off(LOST)

    def run(self):
        with lock:
            jobs.add(self)
        if stop.is_set():
            self.break_off(STOPPED)
        heart = threading.Thread(target=self.beat)
        heart.start()
        try:
            self.say("complete", {"result": self.work()})
        except Exception as error:
            if self.reason == STOPPED:
                self.say("snooze", {})
            elif self.reason != LOST:  # a lost lease is 409: there is nothing more to say
                self.say("fail", {"error": self.reason or str(error), "retry": self.job["payload"].get("retry", True)})
        finally:
            self.off.set()
            heart.join()
            with lock:
                jobs.discard(self)
            free.release()

    def work(self):
        """The work: what the script says."""
        payload, first = self.job["payload"], self.job["attempt"] == 1
        if payload["do"] == "fail" and first:
            raise RuntimeError("told to fail")
        if payload["do"] == "crash" and first:
            os._exit(3)
        if payload["do"] == "work":
            self.say("progress", {"progress": "working"})
            if self.off.wait(payload["seconds"]):
                raise RuntimeError(self.reason)
        return {"did": payload["do"], "attempt": self.job["attempt"]}


def told_to_stop(*_):
    stop.set()


def claim():
    """Claims jobs into free slots until the worker is told to stop."""
    while not stop.is_set():
        if not free.acquire(timeout=0.1):
            continue
        slots = 1
        while free.acquire(blocking=False):
            slots += 1
        body = {"queues": [QUEUE], "max": slots, "wait": "2s", "lease": f"{LEASE}s", "worker": f"python-{os.getpid()}"}
        status, answer = call("/jobs/claim", body, stop.is_set)
        if status not in (0, 200):
            print("claim:", answer, file=sys.stderr)
            os._exit(1)
        claimed = answer["data"] if answer else []
        for _ in range(slots - len(claimed)):
            free.release()
        for job in claimed:
            threading.Thread(target=Job(job).run).start()


signal.signal(signal.SIGTERM, told_to_stop)
signal.signal(signal.SIGINT, told_to_stop)
claimer = threading.Thread(target=claim)
claimer.start()
stop.wait()
with lock:
    running = list(jobs)
for job in running:
    job.break_off(STOPPED)
claimer.join()
