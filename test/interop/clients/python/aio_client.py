"""The client for grpcio with asyncio: aio_client.py TARGETS POLICY SECONDS. See ../README.md."""

import asyncio
import sys

import grpc
import hello_pb2
import hello_pb2_grpc
import load


class Failed(Exception):
    """An error of a call, short enough to be counted."""

    def __init__(self, err):
        super().__init__(f"{err.code()} {err.details()}")


class Caller:
    def __init__(self, stub):
        self.stub = stub

    async def hi(self, message, deadline):
        try:
            return await self.stub.Hi(hello_pb2.HiRequest(to_who="you", message=message), timeout=deadline)
        except grpc.aio.AioRpcError as err:
            raise Failed(err) from err

    async def watch(self, want):
        call = self.stub.Watch(hello_pb2.HiRequest(to_who="you"))
        try:
            for _ in range(want):
                await answer(call)
        finally:
            call.cancel()

    async def chat(self, messages, deadline):
        call = self.stub.Chat(timeout=deadline)
        try:
            for i in range(messages):
                await call.write(hello_pb2.HiRequest(message=str(i)))
                await answer(call)
            await call.done_writing()
            if await call.read() is not grpc.aio.EOF:
                raise ValueError("no end")
        except grpc.aio.AioRpcError as err:
            raise Failed(err) from err


async def answer(call):
    """Reads one answer of a stream."""
    try:
        if await call.read() is grpc.aio.EOF:
            raise ValueError("ended early")
    except grpc.aio.AioRpcError as err:
        raise Failed(err) from err


async def main():
    targets, policy, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    options = [("grpc.lb_policy_name", policy)]
    target = targets if targets.startswith("dns:") else "ipv4:" + targets
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        caller = Caller(hello_pb2_grpc.HelloServiceStub(channel))
        await load.run("grpcio aio (Python)", grpc.__version__, caller, seconds)


asyncio.run(main())
