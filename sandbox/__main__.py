"""Run the sandbox replay site until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

from sandbox.misbehave import Misbehaviour
from sandbox.options import OptionError, port, writing
from sandbox.server import Server
from sandbox.site import Plan, ReplaySite


def main(arguments: list[str] | None = None) -> int:
    """Serve as the arguments say, and return the exit status: 1 when it cannot be done."""
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except OptionError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    with ExitStack() as stack:
        log = stack.enter_context(writing("--log", options.log, "a")) if options.log else None
        plan = Plan(options.battles, options.ties, options.burst, options.private_every)
        wrong = Misbehaviour(
            garbage=options.garbage,
            truncated=options.truncated,
            refused=options.refused,
            status=options.status,
            retry_after=options.retry_after,
            most=options.most,
            broken_every=options.broken_every,
            latency=options.latency,
            seed=options.seed,
        )
        site = ReplaySite.recorded(plan)
        server = Server(site, wrong, log, crawl_delay=options.crawl_delay)
        asyncio.run(_serve(server, options.port, len(site.public_ids)))


async def _serve(server: Server, port: int, public: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        address = await server.start(port)
    except OSError as error:
        await server.stop()
        reason = os.strerror(error.errno or 0)
        raise OptionError(
            f"--port {port}: {reason}; without it one is taken that is free"
        ) from None
    sys.stdout.write(f"{address} offers {public} public battles\n")
    sys.stdout.flush()
    await stop.wait()
    await server.stop()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    add = parser.add_argument
    add("--port", type=port, default=0, help="default: one that is free")
    add("--battles", type=int, help="how many; default: all that were recorded")
    add("--ties", type=int, default=1, help="how many in a row share one second")
    add("--burst", type=int, default=0, help="how many in the middle share one second")
    add("--private-every", type=int, default=0, help="each so many-th one is private")
    add("--garbage", type=float, default=0.0, help="share answered with HTML and status 200")
    add("--truncated", type=float, default=0.0, help="share of replies that break off")
    add("--refused", type=float, default=0.0, help="share answered with --status")
    add("--status", type=int, default=503)
    add("--retry-after", help="seconds or a date, sent with --status")
    add("--most", type=float, default=0.0, help="requests a second beyond which --status comes")
    add("--broken-every", type=int, default=0, help="about each so many-th battle gets a 500")
    add("--crawl-delay", type=float, default=0.0, help="seconds that robots.txt asks for")
    add("--latency", type=float, default=0.0, help="seconds before each answer")
    add("--seed", type=int, default=1, help="of what goes wrong")
    add("--log", type=Path, help="write each request with its time to this file")
    return parser


if __name__ == "__main__":  # pragma: no cover -- as `python -m sandbox`
    sys.exit(main())
