"""Take every download past the throttle and the circuit breaker, whatever its protocol."""

from __future__ import annotations

import time
from abc import abstractmethod
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from scrapy.core.downloader.handlers.base import BaseDownloadHandler

from extensions.circuit_breaker import OUTAGES, CircuitBreaker, what_is_wrong
from extensions.throttle import HeldError, Throttle

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.crawler import Crawler
    from scrapy.http import Response

    from extensions.outage import Failure
    from extensions.throttle import Turn


_LEAST = 1.0
"""Seconds that a refusal holds at least."""


class NoConnectionError(HeldError):
    """Raised for a request whose connection came to nothing, which it shares with others."""

    def __init__(self, host: str, failure: Failure) -> None:
        super().__init__(host, failure.seconds, failure.cause)
        self.failure = failure


class GatedDownloadHandler(BaseDownloadHandler):
    """A base for download handlers: asks for a turn, fetches, and tells how it went.

    Without the extensions `Throttle` and `CircuitBreaker` it only fetches. A request whose answer
    takes long finds in its meta, as `alive`, what to call at the host's first sign of life. A
    connection that comes to nothing is told of once, however many requests waited for it: a server
    that refuses is held for the whole fleet, and one that is not reached counts as an error.
    """

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        self._throttle = crawler.get_extension(Throttle)
        self._breaker = crawler.get_extension(CircuitBreaker)

    async def download_request(self, request: Request) -> Response:
        if self._throttle is None:
            return await self.fetch(request)
        may_pass = bool(request.meta.get("is_own_probe"))
        # What finds more comes first here, as it does in the queue.
        is_urgent = request.priority > 0
        turn = await self._throttle.turn(request.url, may_pass=may_pass, is_urgent=is_urgent)
        if turn.is_probe and self._breaker is not None:
            request.meta["alive"] = partial(self._breaker.is_alive, turn)
        began = time.monotonic()
        try:
            response = await self.fetch(request)
        except NoConnectionError as error:
            await self._tell(self._throttle, turn, request, error)
            raise
        except OUTAGES as error:
            if self._breaker is not None:
                await self._breaker.failed(turn, request, error, took=time.monotonic() - began)
            raise
        finally:
            request.meta.pop("alive", None)
            self._throttle.done(turn)
        await self._judge(self._throttle, turn, request, response)
        return response

    @abstractmethod
    async def fetch(self, request: Request) -> Response:
        """Download one request; what fails raises one of Scrapy's download errors.

        Raises:
            NoConnectionError: a connection that several share came to nothing.

        """

    async def _tell(
        self, throttle: Throttle, turn: Turn, request: Request, error: NoConnectionError
    ) -> None:
        """Have the fleet know of a connection that came to nothing, unless it does."""
        failure = error.failure
        if failure.is_refusal:
            if turn.is_probe or throttle.held(request.url) is None:
                await throttle.hold(
                    turn.host,
                    failure.cause,
                    failure.seconds,
                    is_probe=turn.is_probe,
                    is_said=True,
                )
        elif self._breaker is not None and (turn.is_probe or not failure.is_told):
            failure.is_told = True
            await self._breaker.failed(
                turn, request, failure.error or failure.cause, took=failure.took, is_said=True
            )
        error.seconds = max(error.seconds, throttle.held(request.url) or 0.0)

    async def _judge(
        self, throttle: Throttle, turn: Turn, request: Request, response: Response
    ) -> None:
        if is_refusal(response):
            seconds = asked_pause(response)
            said = "" if seconds is None else f", Retry-After {seconds:.0f} s"
            reason = f"HTTP {response.status}{said}"
            await throttle.hold(turn.host, reason, seconds, is_probe=turn.is_probe)
        elif self._breaker is None:
            return
        elif wrong := what_is_wrong(response):
            await self._breaker.failed(turn, request, wrong, response)
        else:
            await self._breaker.succeeded(turn)


def is_refusal(response: Response) -> bool:
    """Tell whether the host asks to be left alone, which is no failure."""
    if response.status == HTTPStatus.TOO_MANY_REQUESTS:
        return True
    is_unavailable = response.status == HTTPStatus.SERVICE_UNAVAILABLE
    return is_unavailable and retry_after(response) is not None


def asked_pause(response: Response) -> float | None:
    """Return the seconds that a refusal asks for; None when it does not say."""
    seconds = retry_after(response)
    # "Now" is no answer to who has just asked too often.
    return None if seconds is None else max(_LEAST, seconds)


def retry_after(response: Response) -> float | None:
    """Return the seconds that a reply's `Retry-After` asks for; None when it says nothing.

    It holds seconds or a date, which is compared with the reply's own `Date`, if there is one.
    """
    text = _header(response, "Retry-After")
    if text.isascii() and text.isdigit():
        return float(text[:9])
    until = _seconds(text)
    if until is None:
        return None
    now = _seconds(_header(response, "Date"))
    return max(0.0, until - (time.time() if now is None else now))


def _header(response: Response, name: str) -> str:
    return (response.headers.get(name) or b"").decode("latin-1").strip()


def _seconds(date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
        # HTTP knows no other zone; an old form of its dates does not name it.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
