"""The two loops that run a flow: one for threads, one for asyncio. The only difference between the worlds."""

from __future__ import annotations

from ._calls import AsyncTransport, Pause, Transport
from ._errors import AlexNetClientError
from ._flows import Flow, ValueT


def run(flow: Flow[ValueT], transport: Transport) -> ValueT:
    """Run ``flow`` to its end in this thread; its value."""
    reply: object = None
    error: AlexNetClientError | None = None
    while True:
        try:
            step = flow.send(reply) if error is None else flow.throw(error)
        except StopIteration as end:
            return end.value
        reply, error = None, None
        try:
            if isinstance(step, Pause):
                transport.pause(step.seconds)
            else:
                reply = transport.send(step.call, step.timeout_s)
        except AlexNetClientError as caught:
            error = caught


async def run_async(flow: Flow[ValueT], transport: AsyncTransport) -> ValueT:
    """Run ``flow`` to its end in this event loop; its value."""
    reply: object = None
    error: AlexNetClientError | None = None
    while True:
        try:
            step = flow.send(reply) if error is None else flow.throw(error)
        except StopIteration as end:
            return end.value
        reply, error = None, None
        try:
            if isinstance(step, Pause):
                await transport.pause(step.seconds)
            else:
                reply = await transport.send(step.call, step.timeout_s)
        except AlexNetClientError as caught:
            error = caught
