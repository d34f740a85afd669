"""Check every setting at the start, and take secrets out of what is logged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from extensions.credentials import Secret, is_secret, origin, userinfo, without_userinfo
from extensions.limits import limits_from_settings
from extensions.setting_kinds import (
    Row,
    SettingError,
    address,
    check_names,
    check_rows,
    choice,
    class_path,
    count,
    filled,
    host_names,
    log_level,
    mapping,
    name_pattern,
    number,
    optional,
    redis_address,
    redis_parameters,
    switch,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scrapy.settings import BaseSettings

_REACTOR = "twisted.internet.asyncioreactor.AsyncioSelectorReactor"

ROWS = (
    Row(
        "REDIS_URL",
        redis_address,
        None,
        "",
        "`redis://`, `rediss://` or `unix://`; unset: a server of our own",
        "connection",
        is_environment=True,
    ),
    Row(
        "REDIS_CLUSTER",
        switch,
        False,
        "",
        (
            "whether that is a node of a Redis Cluster, or of a serverless offer that speaks its "
            "protocol"
        ),
        "connection",
        is_environment=True,
    ),
    Row(
        "REDIS_PARAMS",
        redis_parameters,
        {},
        "",
        "further arguments of `redis.Redis.from_url`",
        "connection",
    ),
    Row(
        "REDIS_HOST",
        text,
        None,
        "",
        (
            "as in scrapy-redis, when `REDIS_URL` is unset; with `REDIS_PORT` or `REDIS_DB`"
            " alone it is `localhost`"
        ),
        "redis_settings",
    ),
    Row(
        "REDIS_PORT",
        count(1),
        6379,
        "",
        "as in scrapy-redis, when `REDIS_URL` is unset",
        "redis_settings",
    ),
    Row(
        "REDIS_DB",
        count(),
        0,
        "",
        "as in scrapy-redis, when `REDIS_URL` is unset",
        "redis_settings",
    ),
    Row(
        "REDIS_ENCODING",
        choice("utf-8", "utf8", "UTF-8"),
        "utf-8",
        "",
        "as in scrapy-redis, and nothing else: what is in Redis is UTF-8",
        "validation",
    ),
    Row(
        "EMBEDDED_REDIS_DIR",
        filled,
        ".scrapy/redis",
        "",
        "where a server of our own keeps its data",
        "connection",
        is_environment=True,
    ),
    Row(
        "ARCHIVE_URL",
        text,
        "data",
        "",
        ("a folder, or `s3://bucket/prefix`; a crawl that is refused there does not begin"),
        "storage",
        is_environment=True,
    ),
    Row(
        "AWS_ENDPOINT_URL",
        optional(address("http", "https", takes_user=False)),
        None,
        "",
        "as in Scrapy",
        "storage_s3",
        is_environment=True,
    ),
    Row(
        "AWS_REGION_NAME",
        text,
        None,
        "",
        "as in Scrapy",
        "storage_s3",
        is_environment=True,
    ),
    Row(
        "AWS_ACCESS_KEY_ID",
        text,
        None,
        "",
        (
            "as in Scrapy; unset ones are left to boto3, which reads the environment and "
            "its files, again when the store refuses what it found"
        ),
        "storage_s3",
    ),
    Row(
        "AWS_SECRET_ACCESS_KEY",
        text,
        None,
        "",
        (
            "as in Scrapy; unset ones are left to boto3, which reads the environment and "
            "its files, again when the store refuses what it found"
        ),
        "storage_s3",
    ),
    Row(
        "AWS_SESSION_TOKEN",
        text,
        None,
        "",
        (
            "as in Scrapy; unset ones are left to boto3, which reads the environment and "
            "its files, again when the store refuses what it found"
        ),
        "storage_s3",
    ),
    Row(
        "AWS_USE_SSL",
        text,
        None,
        "",
        (
            "as in Scrapy; unset ones are left to boto3, which reads the environment and "
            "its files, again when the store refuses what it found"
        ),
        "storage_s3",
    ),
    Row(
        "AWS_VERIFY",
        text,
        None,
        "",
        (
            "as in Scrapy; unset ones are left to boto3, which reads the environment and "
            "its files, again when the store refuses what it found"
        ),
        "storage_s3",
    ),
    Row(
        "THROTTLE_RATE",
        number(),
        2,
        "requests/s",
        "to each host, of all workers together; 0: any number",
        "throttle",
        is_environment=True,
    ),
    Row(
        "THROTTLE_BURST",
        count(1),
        1,
        "requests",
        "that may follow one another at once after a pause",
        "throttle",
    ),
    Row(
        "THROTTLE_CONCURRENCY",
        count(),
        0,
        "requests",
        "at a time to each host, of all workers together; 0: any",
        "throttle",
    ),
    Row(
        "THROTTLE_HOSTS",
        mapping,
        {},
        "",
        ('other limits for single hosts: a rate, or `{"rate": …, "burst": …, "concurrency": …}`'),
        "throttle",
    ),
    Row(
        "THROTTLE_HOLD",
        number(),
        1800.0,
        "s",
        "to leave a host alone that answers 429 and does not say how long; doubles",
        "throttle",
    ),
    Row(
        "CIRCUIT_BREAKER_ERRORS",
        count(),
        10,
        "errors",
        "of a host within the window, or in a row, that trip its breaker; 0: any number",
        "circuit_breaker",
    ),
    Row(
        "CIRCUIT_BREAKER_FLOOR",
        number(high=1.0),
        0.2,
        "share",
        "of what was asked within the window that errors must be to trip it, if not in a row",
        "circuit_breaker",
    ),
    Row(
        "CIRCUIT_BREAKER_WINDOW",
        number(above=True),
        60.0,
        "s",
        "in which errors are counted",
        "circuit_breaker",
    ),
    Row(
        "CIRCUIT_BREAKER_SHARE",
        number(high=1.0),
        0.5,
        "",
        "of the requests in a window that fail trips it, too; 0: any share",
        "circuit_breaker",
    ),
    Row(
        "CIRCUIT_BREAKER_MINIMUM",
        count(),
        20,
        "requests",
        "in a window before the share counts",
        "circuit_breaker",
    ),
    Row(
        "CIRCUIT_BREAKER_HOLD",
        number(),
        60.0,
        "s",
        "until one request probes the host; doubles while that fails",
        "circuit_breaker",
    ),
    Row(
        "CIRCUIT_BREAKER_HOLD_MAX",
        number(),
        1800.0,
        "s",
        "where doubling stops",
        "circuit_breaker",
    ),
    Row(
        "CIRCUIT_BREAKER_ACTION",
        choice("hold", "close"),
        "hold",
        "",
        "`close` ends the crawl instead of waiting",
        "circuit_breaker",
    ),
    Row(
        "SITE_CREDENTIALS",
        mapping,
        {},
        "",
        (
            '`{"https://host": "user:password"}`; those in the address of a site are moved '
            "here, so that no record, log or queue entry holds them"
        ),
        "credentials",
    ),
    Row(
        "DOWNLOAD_TIMEOUTS",
        mapping,
        {"discovery": 30.0},
        "s",
        "time-outs by lane; `DOWNLOAD_TIMEOUT` for the others",
        "http_download",
    ),
    Row(
        "WEBSOCKET_DIALOGUE",
        class_path,
        "battles.dialogue.ShowdownDialogue",
        "",
        "what is said over a websocket",
        "websocket",
    ),
    Row(
        "WEBSOCKET_CONNECTIONS",
        count(1),
        6,
        "connections",
        "of a worker to one address",
        "websocket",
    ),
    Row(
        "WEBSOCKET_HEARTBEAT",
        number(above=True),
        20.0,
        "s",
        "between two pings",
        "websocket",
    ),
    Row(
        "SCHEDULER_PERSIST",
        switch,
        False,
        "",
        "remember what was seen when nothing is left to do",
        "scheduler",
    ),
    Row(
        "SCHEDULER_FLUSH_ON_START",
        switch,
        False,
        "",
        "throw away what an earlier crawl left",
        "scheduler",
    ),
    Row(
        "SCHEDULER_QUEUE_KEY",
        name_pattern,
        "%(spider)s:queue",
        "",
        "prefix of the queue's keys in Redis",
        "scheduler",
    ),
    Row(
        "QUEUE_LEASE",
        number(1.0),
        30.0,
        "s",
        "after which a silent worker's requests go to others",
        "scheduler",
    ),
    Row(
        "QUEUE_DELIVERIES",
        count(1),
        10,
        "workers",
        "that may die holding a request before it is a dead letter",
        "scheduler",
    ),
    Row(
        "QUEUE_PREFETCH",
        count(1),
        64,
        "requests",
        "the most that a worker leases ahead",
        "scheduler",
    ),
    Row(
        "QUEUE_HIGH_WATER",
        count(),
        100000,
        "requests",
        "waiting downloads beyond which discovery pauses, until half are done",
        "scheduler",
    ),
    Row(
        "QUEUE_HOSTS",
        host_names,
        None,
        "",
        (
            "more hosts, as `name` or `name:port`, that requests of the queue may be for, beside "
            "those of the settings that the spider names in `sites`; a request for another host is "
            "a dead letter. Where neither names any, all are allowed"
        ),
        "allowed_hosts",
    ),
    Row(
        "REDIRECT_ENABLED",
        switch,
        False,
        "",
        (
            "as in Scrapy; on, a redirect of such a host may lead to another, but to none of a "
            "private network"
        ),
        "allowed_hosts",
    ),
    Row(
        "RETRY_ENABLED",
        switch,
        True,
        "",
        "off: what fails is a dead letter at once",
        "retry",
    ),
    Row(
        "ROBOTSTXT_USER_AGENT",
        text,
        None,
        "",
        "for whom robots.txt is read, its `Crawl-delay`, too; unset: `USER_AGENT`",
        "robots, throttle",
    ),
    Row(
        "RETRY_BACKOFF",
        number(),
        1.0,
        "s",
        "the most before the first retry, a tenth of it for discovery; doubles each time",
        "retry",
    ),
    Row(
        "RETRY_BACKOFF_MAX",
        number(),
        300.0,
        "s",
        "where doubling stops",
        "retry",
    ),
    Row(
        "PROGRESS_BAR",
        switch,
        True,
        "",
        "show one, if this is a terminal",
        "progress",
    ),
    Row(
        "PROGRESS_UNIT",
        text,
        "battles",
        "",
        "what it counts",
        "progress",
    ),
    Row(
        "GC_THRESHOLD",
        count(),
        20000,
        "objects",
        "made between two looks for garbage; 0: as Python does",
        "garbage",
    ),
    Row(
        "LOG_JSON",
        switch,
        False,
        "",
        "log JSON instead of text",
        "json_logs",
    ),
)
"""The settings of all parts here, for checks and documentation."""


def _scrapys(name: str, kind: Callable[[Any], str], unit: str = "") -> Row:
    return Row(name, kind, None, unit, "as in Scrapy", "Scrapy")


SCRAPY_ROWS = (
    # With none, each reply counts as done, and no pipeline ever sees what it held.
    _scrapys("CONCURRENT_ITEMS", count(1), "items"),
    _scrapys("CONCURRENT_REQUESTS", count(1), "requests"),
    _scrapys("CONCURRENT_REQUESTS_PER_DOMAIN", count(1), "requests"),
    _scrapys("DOWNLOAD_TIMEOUT", number(above=True), "s"),
    _scrapys("DOWNLOAD_DELAY", number(), "s"),
    _scrapys("DOWNLOAD_MAXSIZE", count(), "bytes"),
    _scrapys("RETRY_TIMES", count(), "times"),
    _scrapys("CLOSESPIDER_ITEMCOUNT", count(), "items"),
    _scrapys("CLOSESPIDER_PAGECOUNT", count(), "pages"),
    _scrapys("CLOSESPIDER_ERRORCOUNT", count(), "errors"),
    _scrapys("CLOSESPIDER_TIMEOUT", number(), "s"),
    _scrapys("LOG_LEVEL", log_level),
)
"""Settings of Scrapy that lose work, or end in a traceback, when they make no sense."""


class Validation:
    """An add-on: refuses settings that make no sense, before anything is begun with them.

    It also strips what a file of Windows leaves at the end of a line, moves user and password from
    the addresses of sites to SITE_CREDENTIALS, and has logs show no secret.
    """

    rows: ClassVar[tuple[Row, ...]] = ROWS

    def update_settings(self, settings: BaseSettings) -> None:
        prepare(settings, self.rows)


def prepare(settings: BaseSettings, rows: Iterable[Row]) -> None:
    """Tidy settings in place, and check them; to do it twice changes nothing.

    Raises:
        SettingError: one of them makes no sense.

    """
    rows = (*rows, *SCRAPY_ROWS)
    _strip(settings, rows)
    _hide(settings)
    check_names(settings, rows)
    check_rows(settings, rows)
    _check_reactor(settings)
    limits_from_settings(settings)
    _move_userinfo(settings, rows)


def _strip(settings: BaseSettings, rows: Iterable[Row]) -> None:
    for row in rows:
        value = settings.get(row.name)
        if isinstance(value, str) and value != value.strip():
            _replace(settings, row.name, value.strip())


def _hide(settings: BaseSettings) -> None:
    """Have the log of settings show no secret, whosever setting it is."""
    for name, value in list(settings.items()):
        is_text = isinstance(name, str) and isinstance(value, str)
        if is_text and not isinstance(value, Secret) and is_secret(name, value):
            _replace(settings, name, Secret(value))


def _move_userinfo(settings: BaseSettings, rows: Iterable[Row]) -> None:
    """Have addresses of sites hold no password: they are in every record and queue entry."""
    found = {}
    for row in rows:
        url = settings.get(row.name)
        if row.is_site and isinstance(url, str) and (words := userinfo(url)) is not None:
            found[origin(url)] = words
            _replace(settings, row.name, without_userinfo(url))
    if found:
        known = settings.getdict("SITE_CREDENTIALS", {})
        settings.set("SITE_CREDENTIALS", {**known, **found}, priority="cmdline")


def _check_reactor(settings: BaseSettings) -> None:
    if not settings.getbool("TWISTED_REACTOR_ENABLED", default=True):
        return
    given = settings.get("TWISTED_REACTOR")
    # Not imported: that would install one.
    if given != _REACTOR:
        raise SettingError(f"TWISTED_REACTOR={given!r}: give {_REACTOR}; downloads need asyncio")


def _replace(settings: BaseSettings, name: str, value: Any) -> None:  # noqa: ANN401 -- any setting
    settings.set(name, value, priority=settings.getpriority(name) or 0)
