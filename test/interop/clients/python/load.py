"""The calls of all clients, for the clients with asyncio. See ../README.md."""

import asyncio
import collections
import json
import os
import sys
import time

DEADLINE = int(os.environ.get("HELLO_DEADLINE", 10))
UNARY_WORKERS = int(os.environ.get("HELLO_WORKERS", 8))
MESSAGE = "x" * int(os.environ.get("HELLO_BYTES", 5))
WATCH_WORKERS = 2
WATCH_MESSAGES = 3
CHAT_MESSAGES = 10


class Result:
    """Counts the calls and errors of all workers."""

    def __init__(self):
        self.calls = self.failed = 0
        self.errors = collections.Counter()

    def add(self, what, error):
        self.calls += 1
        if error:
            self.failed += 1
            self.errors[f"{what}: {error!r}"] += 1


async def loop(result, end, what, call):
    while True:
        error = None
        try:
            await call()
        except Exception as err:  # any error counts, of whichever library
            error = err
        result.add(what, error)
        if time.monotonic() >= end:
            return


async def run(client, version, caller, seconds):
    """Makes calls with caller (hi, watch, chat) for the given seconds and prints the result.

    It returns when standard input ends.
    """

    async def hi():
        answer = await caller.hi(MESSAGE, DEADLINE)
        if answer.message != MESSAGE:
            raise ValueError(f"answered {answer.message[:20]}")

    result, end = Result(), time.monotonic() + seconds
    workers = [("hi", hi)] * UNARY_WORKERS
    workers += [("watch", lambda: caller.watch(WATCH_MESSAGES))] * WATCH_WORKERS
    workers += [("chat", lambda: caller.chat(CHAT_MESSAGES, DEADLINE))]
    # At one message a second, this stream ends shortly after the other calls.
    workers += [("long watch", lambda: caller.watch(seconds + 1))]
    await asyncio.gather(*(loop(result, end, *w) for w in workers))
    print(json.dumps({
        "client": client, "version": version,
        "calls": result.calls, "failed": result.failed, "errors": result.errors,
    }), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
