"""The client for grpcio: client.py TARGETS POLICY SECONDS. See ../README.md."""

import collections
import json
import os
import sys
import threading
import time

import grpc
import hello_pb2
import hello_pb2_grpc

DEADLINE = int(os.environ.get("HELLO_DEADLINE", 10))
UNARY_WORKERS = int(os.environ.get("HELLO_WORKERS", 8))
MESSAGE = "x" * int(os.environ.get("HELLO_BYTES", 5))
WATCH_WORKERS = 2
WATCH_MESSAGES = 3
CHAT_MESSAGES = 10


class Result:
    """Counts the calls and errors of all workers."""

    def __init__(self):
        self.lock = threading.Lock()
        self.calls = self.failed = 0
        self.errors = collections.Counter()

    def add(self, what, error):
        with self.lock:
            self.calls += 1
            if error:
                self.failed += 1
                self.errors[f"{what}: {error}"] += 1


def hi(stub):
    answer = stub.Hi(hello_pb2.HiRequest(to_who="you", message=MESSAGE), timeout=DEADLINE)
    if answer.message != MESSAGE:
        raise ValueError(f"answered {answer.message[:20]}")


def watch(stub, want):
    stream = stub.Watch(hello_pb2.HiRequest(to_who="you"))
    try:
        for _ in range(want):
            next(stream)
    finally:
        stream.cancel()


def chat(stub):
    answered = threading.Semaphore(1)

    def requests():
        for i in range(CHAT_MESSAGES):
            # The timeout keeps a broken stream from blocking this thread forever.
            if not answered.acquire(timeout=DEADLINE):
                return
            yield hello_pb2.HiRequest(message=str(i))

    got = 0
    for _ in stub.Chat(requests(), timeout=DEADLINE):
        got += 1
        answered.release()
    if got != CHAT_MESSAGES:
        raise ValueError("ended early")


def loop(result, end, what, call):
    while True:
        try:
            call()
            result.add(what, None)
        except grpc.RpcError as err:
            result.add(what, f"{err.code()} {err.details()}")
        except (StopIteration, ValueError) as err:
            result.add(what, repr(err))
        if time.monotonic() >= end:
            return


def main():
    targets, policy, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    options = [("grpc.lb_policy_name", policy)]
    if "HELLO_RETRY_BUFFER" in os.environ:
        options.append(("grpc.per_rpc_retry_buffer_size", int(os.environ["HELLO_RETRY_BUFFER"])))
    target = targets if targets.startswith("dns:") else "ipv4:" + targets
    channel = grpc.insecure_channel(target, options=options)
    stub = hello_pb2_grpc.HelloServiceStub(channel)
    result, end = Result(), time.monotonic() + seconds

    workers = [("hi", lambda: hi(stub))] * UNARY_WORKERS
    workers += [("watch", lambda: watch(stub, WATCH_MESSAGES))] * WATCH_WORKERS
    workers += [("chat", lambda: chat(stub))]
    # At one message a second, this stream ends shortly after the other calls.
    workers += [("long watch", lambda: watch(stub, seconds + 1))]
    threads = [threading.Thread(target=loop, args=(result, end, *w)) for w in workers]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    print(json.dumps({
        "client": "grpcio (Python)", "version": grpc.__version__,
        "calls": result.calls, "failed": result.failed, "errors": result.errors,
    }), flush=True)
    sys.stdin.read()


main()
