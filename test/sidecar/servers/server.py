"""An ordinary grpcio server: server.py ADDRESS POD. It needs no generated code.

An answer is the request with the field `pod` (3) added, because HiRequest and HiResponse have
the same first fields.
"""

import signal
import sys
import threading
import time
from concurrent import futures

import grpc


class Hello(grpc.GenericRpcHandler):
    def __init__(self, pod):
        name = pod.encode()
        self.suffix = bytes([3 << 3 | 2, len(name)]) + name

    def hi(self, request, context):
        return request + self.suffix

    def watch(self, request, context):
        while context.is_active():
            yield request + self.suffix
            time.sleep(1)

    def chat(self, requests, context):
        for request in requests:
            yield request + self.suffix

    def service(self, details):
        return {
            "/hello.v1.HelloService/Hi": grpc.unary_unary_rpc_method_handler(self.hi),
            "/hello.v1.HelloService/Watch": grpc.unary_stream_rpc_method_handler(self.watch),
            "/hello.v1.HelloService/Chat": grpc.stream_stream_rpc_method_handler(self.chat),
        }.get(details.method)


def main(address, pod):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    server.add_generic_rpc_handlers((Hello(pod),))
    server.add_insecure_port(address)
    server.start()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    stop.wait()
    server.stop(grace=5).wait()


main(*sys.argv[1:])
