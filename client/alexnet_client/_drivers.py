"""The two loops that run a flow: one for threads, one for asyncio. The only difference between the worlds."""

from __future__ import annotations

import asyncio
import concurrent.futures

from ._calls import AsyncTransport, Pause, Send, Transport
from ._errors import AlexNetClientError
from ._flows import Flow, ValueT


def run(flow: Flow[ValueT], transport: Transport) -> ValueT:
    """Run ``flow`` to its end in this thread; its value."""
    reply: object = None
    error: AlexNetClientError | None = None
    try:
        while True:
            try:
                step = flow.send(reply) if error is None else flow.throw(error)
            except StopIteration as end:
                return end.value
            reply, error = None, None
            try:
                if isinstance(step, Send):
                    reply = transport.send(step.call, step.timeout_s)
                elif isinstance(step, Pause):
                    transport.pause(step.seconds)
                else:
                    concurrent.futures.wait((step.turn,), step.seconds)
            except AlexNetClientError as caught:
                error = caught
    finally:
        flow.close()  # now, not when it is collected: it may hold a place that others wait for


async def run_async(flow: Flow[ValueT], transport: AsyncTransport) -> ValueT:
    """Run ``flow`` to its end in this event loop; its value."""
    reply: object = None
    error: AlexNetClientError | None = None
    try:
        while True:
            try:
                step = flow.send(reply) if error is None else flow.throw(error)
            except StopIteration as end:
                return end.value
            reply, error = None, None
            try:
                if isinstance(step, Send):
                    reply = await transport.send(step.call, step.timeout_s)
                elif isinstance(step, Pause):
                    await transport.pause(step.seconds)
                else:
                    await asyncio.wait((asyncio.wrap_future(step.turn),), timeout=step.seconds)
            except AlexNetClientError as caught:
                error = caught
    finally:
        flow.close()
