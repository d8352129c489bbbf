"""The client for connectrpc with gRPC: connect_client.py TARGETS POLICY SECONDS. See ../README.md.

The targets are the addresses of one name, over which pyqwest, its HTTP client, balances.
"""

import asyncio
import importlib.metadata
import sys

import hello_pb2
import load
from connectrpc.client import ConnectClient
from connectrpc.compat import google_protobuf_binary_codec
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.protocol import ProtocolType
from pyqwest import Client, HTTPTransport, HTTPVersion


def method(name, kind):
    return MethodInfo(
        name=name, service_name="hello.v1.HelloService", input=hello_pb2.HiRequest, output=hello_pb2.HiResponse,
        idempotency_level=IdempotencyLevel.UNKNOWN, stream_type=kind,
    )


HI = method("Hi", StreamType.UNARY)
WATCH = method("Watch", StreamType.SERVER_STREAM)
CHAT = method("Chat", StreamType.BIDI_STREAM)


class Caller:
    def __init__(self, client):
        self.client = client

    async def hi(self, message, deadline):
        request = hello_pb2.HiRequest(to_who="you", message=message)
        return await self.client.execute_unary(request=request, method=HI, timeout_ms=deadline * 1000)

    async def watch(self, want):
        stream = self.client.execute_server_stream(request=hello_pb2.HiRequest(to_who="you"), method=WATCH)
        got = 0
        try:
            async for _ in stream:
                got += 1
                if got >= want:
                    return
        finally:
            await stream.aclose()
        raise ValueError("ended early")

    async def chat(self, messages, deadline):
        answered = asyncio.Semaphore(1)

        async def requests():
            for i in range(messages):
                await answered.acquire()
                yield hello_pb2.HiRequest(message=str(i))

        got = 0
        async for _ in self.client.execute_bidi_stream(request=requests(), method=CHAT, timeout_ms=deadline * 1000):
            got += 1
            answered.release()
        if got != messages:
            raise ValueError("ended early")


async def main():
    targets, seconds = sys.argv[1], int(sys.argv[3])
    transport = HTTPTransport(
        http_version=HTTPVersion.HTTP2, dns_overrides={"hello.test": targets.split(",")}, enable_dns_load_balancing=True,
    )
    async with transport:
        client = ConnectClient(
            "http://hello.test", http_client=Client(transport),
            protocol=ProtocolType.GRPC, codec=google_protobuf_binary_codec(), send_compression=None,
        )
        await load.run("connectrpc (Python)", importlib.metadata.version("connectrpc"), Caller(client), seconds)


asyncio.run(main())
