"""The client for grpcio: steady.py POLICY TARGET...

It opens one channel per target and calls five times a second on each. On SIGTERM it stops
and prints its result."""

import collections
import json
import signal
import sys
import threading

import grpc
import hello_pb2
import hello_pb2_grpc

EVERY = 0.2
DEADLINE = 10

lock = threading.Lock()
calls = 0
errors = collections.Counter()
over = threading.Event()


def run(policy, target):
    """Calls on one channel with its own connections, as in a separate process."""
    global calls
    options = [("grpc.lb_policy_name", policy), ("grpc.use_local_subchannel_pool", 1)]
    channel = grpc.insecure_channel(target, options=options)
    stub = hello_pb2_grpc.HelloServiceStub(channel)
    while not over.wait(EVERY):
        error = None
        try:
            stub.Hi(hello_pb2.HiRequest(to_who="you", message="hi"), timeout=DEADLINE)
        except grpc.RpcError as err:
            error = f"{err.code()} {err.details()}"
        with lock:
            calls += 1
            if error:
                errors[error] += 1


def main():
    policy, targets = sys.argv[1], sys.argv[2:]
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    threads = [threading.Thread(target=run, args=(policy, t)) for t in targets]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    print(json.dumps({"calls": calls, "failed": sum(errors.values()), "errors": errors}), flush=True)


main()
