"""The client for grpclib: grpclib_client.py TARGETS POLICY SECONDS. See ../README.md.

grpclib has no load balancing, so there is one channel per server, used round robin.
"""

import asyncio
import itertools
import sys

import grpclib
import hello_pb2
import load
from grpclib.client import Channel, StreamStreamMethod, UnaryStreamMethod, UnaryUnaryMethod


def method(kind, channel, name):
    return kind(channel, f"/hello.v1.HelloService/{name}", hello_pb2.HiRequest, hello_pb2.HiResponse)


class Caller:
    def __init__(self, channels):
        self.channels = itertools.cycle(channels)

    async def hi(self, message, deadline):
        call = method(UnaryUnaryMethod, next(self.channels), "Hi")
        return await call(hello_pb2.HiRequest(to_who="you", message=message), timeout=deadline)

    async def watch(self, want):
        async with method(UnaryStreamMethod, next(self.channels), "Watch").open() as stream:
            await stream.send_message(hello_pb2.HiRequest(to_who="you"), end=True)
            for _ in range(want):
                await answer(stream)
            await stream.cancel()

    async def chat(self, messages, deadline):
        async with method(StreamStreamMethod, next(self.channels), "Chat").open(timeout=deadline) as stream:
            for i in range(messages):
                await stream.send_message(hello_pb2.HiRequest(message=str(i)))
                await answer(stream)
            await stream.end()
            if await stream.recv_message() is not None:
                raise ValueError("no end")


async def answer(stream):
    """Reads one answer of a stream."""
    if await stream.recv_message() is None:
        raise ValueError("ended early")


async def main():
    targets, seconds = sys.argv[1], int(sys.argv[3])
    channels = []
    for target in targets.split(","):
        host, port = target.rsplit(":", 1)
        channels.append(Channel(host, int(port)))
    await load.run("grpclib", grpclib.__version__, Caller(channels), seconds)
    for channel in channels:
        channel.close()


asyncio.run(main())
