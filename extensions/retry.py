"""Decide whether a request is tried again, and when.

Takes the place of Scrapy's middleware of the same name, which tries again at once: here a request
waits in the queue, where no worker's death can lose it, for a random part of a time that doubles.
"""

from __future__ import annotations

import logging
import random
from http import HTTPStatus
from typing import TYPE_CHECKING

from scrapy.downloadermiddlewares import retry
from scrapy.downloadermiddlewares.retry import get_retry_request
from scrapy.exceptions import IgnoreRequest
from scrapy.settings import BaseSettings

from extensions.addresses import one_line
from extensions.dead_letters import Failure
from extensions.keys import lane_of
from extensions.throttle import HeldError, Throttle

if TYPE_CHECKING:
    from scrapy import Request, Spider
    from scrapy.http import Response

logger = logging.getLogger(__name__)

_ROBOTS = "robots.txt"
"""What robots.txt forbids is not gone: it may be a moment's mistake of the site's."""
_PUT_OFF_MAX = 60.0
"""Seconds after which what was put off asks again."""
_SOONER = 0.1
"""Part of its time that the first retry of what finds more waits: all that follows waits for it."""
_DOUBLINGS = 60
"""The time has long stopped doubling by then, and higher powers are too large for a float."""


class RetryMiddleware(retry.RetryMiddleware):
    """Scrapy's retry middleware, with patience; here it is decided what a reply means.

    What no spider handles and is no success is a failure: tried again, or a dead letter.

    Settings:
        RETRY_TIMES, RETRY_HTTP_CODES, RETRY_EXCEPTIONS: as in Scrapy.
        RETRY_ENABLED (True): off, nothing is tried again; what fails is a dead letter at once.
        RETRY_BACKOFF (1.0): the most seconds before the first retry; twice that before the second,
            and so on. The actual time is drawn evenly from zero to that. For discovery, the first
            time is a tenth of that.
        RETRY_BACKOFF_MAX (300.0): where doubling stops, in seconds.
    """

    def __init__(self, settings: BaseSettings) -> None:
        # Scrapy's leaves when it is off, and then an HTTP 500 would count as a battle that is gone.
        enabled = BaseSettings(settings)
        enabled.set("RETRY_ENABLED", value=True, priority="cmdline")
        super().__init__(enabled)

    # Without the spider, as Scrapy calls it now.
    def process_response(  # type: ignore[override]
        self, request: Request, response: Response
    ) -> Request | Response:
        reason = f"HTTP {response.status}"
        if not self._may_pass(response.status) or is_for_now(request):
            # Below 200, too: no such status ends a reply, and Scrapy would hand none to the spider.
            is_failure = not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES
            if is_failure and not self._is_handled(request, response.status):
                give_up(request, reason, response)
            return response
        return retry_later(request, self._spider, reason, response=response) or response

    def process_exception(  # type: ignore[override]
        self, request: Request, exception: Exception
    ) -> Request | None:
        reason = f"{type(exception).__name__}: {one_line(str(exception))}".strip(": ")
        if isinstance(exception, HeldError):
            return put_off(request, self._spider, exception.seconds)
        if isinstance(exception, self.exceptions_to_retry) and not is_for_now(request):
            return retry_later(request, self._spider, reason)
        if not isinstance(exception, IgnoreRequest) or _ROBOTS in reason:
            give_up(request, reason)
        elif lease := request.meta.get("queue_lease"):
            lease.is_accounted = True
        return None

    def _may_pass(self, status: int) -> bool:
        """Tell whether it may be over when it is tried again."""
        return status in self.retry_http_codes or status == HTTPStatus.TOO_MANY_REQUESTS

    def _is_handled(self, request: Request, status: int) -> bool:
        """Tell whether the spider sees this status, as Scrapy's HttpErrorMiddleware decides it."""
        settings = self.crawler.settings
        if request.meta.get("handle_httpstatus_all"):
            return True
        if "handle_httpstatus_list" in request.meta:
            return status in request.meta["handle_httpstatus_list"]
        allowed = settings.getlist("HTTPERROR_ALLOWED_CODES")
        allowed = getattr(self._spider, "handle_httpstatus_list", allowed)
        return settings.getbool("HTTPERROR_ALLOW_ALL") or status in allowed

    @property
    def _spider(self) -> Spider:
        assert self.crawler.spider is not None  # noqa: S101 -- Scrapy has set it by now
        return self.crawler.spider


def is_for_now(request: Request) -> bool:
    """Tell whether somebody waits for the reply, so that it cannot come from the queue."""
    return bool(request.meta.get("dont_retry")) or "queue_lease" not in request.meta


def retry_later(
    request: Request, spider: Spider, reason: str, *, response: Response | None = None
) -> Request | None:
    """Return the request to yield for another try, or None when it has had them all.

    In the latter case the request becomes a dead letter, for the reason given. A try does not count
    when the host is left alone by now: then it is the host that failed.
    """
    throttle = spider.crawler.get_extension(Throttle)
    if throttle and (held := throttle.held(request.url)) is not None:
        return put_off(request, spider, held)
    # Stats want a word, letters the whole reason.
    again = get_retry_request(
        request,
        spider=spider,
        reason=reason.partition(":")[0],
        max_retry_times=None if spider.settings.getbool("RETRY_ENABLED", default=True) else 0,
        # `give_up` says it, with the whole reason.
        give_up_log_level=logging.DEBUG,
    )
    if again is not None:
        delay = _backoff(again.meta["retry_times"], spider.settings)
        is_hiccup = again.meta["retry_times"] == 1 and lane_of(request.priority) == 1
        again.meta["delay"] = delay * _SOONER if is_hiccup else delay
    else:
        give_up(request, reason, response)
    return again


def put_off(request: Request, spider: Spider, seconds: float) -> Request | None:
    """Return the request for later, no try used up; None when it did not come from the queue."""
    if "queue_lease" not in request.meta:
        return None
    again = request.copy()
    again.meta["put_off_times"] = request.meta.get("put_off_times", 0) + 1
    # Not longer, so that it comes back soon when somebody opens the gate before its time.
    again.meta["delay"] = min(seconds, _PUT_OFF_MAX)
    again.dont_filter = True
    if spider.crawler.stats:
        spider.crawler.stats.inc_value("throttle/put_off")
    return again


def look_again(request: Request, seconds: float) -> Request:
    """Return the request for another look later: it went well, and is not finished.

    Its meta counts the looks as `look_times`.
    """
    again = request.copy()
    again.meta["look_times"] = request.meta.get("look_times", 0) + 1
    # Each look has all its tries.
    again.meta.pop("retry_times", None)
    again.meta["delay"] = seconds
    again.dont_filter = True
    return again


def give_up(request: Request, reason: str, response: Response | None = None) -> None:
    """Have the request become a dead letter."""
    if lease := request.meta.get("queue_lease"):
        lease.failure = Failure.of(reason, response)
        logger.error("%s is given up: %s", one_line(request.url), one_line(reason))


def _backoff(attempt: int, settings: BaseSettings) -> float:
    """Draw the seconds to wait before the given attempt, the first of which is 1."""
    base = settings.getfloat("RETRY_BACKOFF", 1.0)
    highest = settings.getfloat("RETRY_BACKOFF_MAX", 300.0)
    doubled = base * 2.0 ** min(attempt - 1, _DOUBLINGS)
    return random.uniform(0.0, min(highest, doubled))  # noqa: S311 -- no secret
