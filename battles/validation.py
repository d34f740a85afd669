"""Check every setting at the start of what crawls, and of every command."""

from __future__ import annotations

from typing import Any, ClassVar

from extensions import validation
from extensions.setting_kinds import Row, address, choice, count, filled, number, switch, text


def contact(value: Any) -> str:  # noqa: ANN401 -- whatever the settings hold
    """Take what a header can say."""
    is_right = str(value).isascii() and str(value).isprintable()
    return "" if is_right else "a header takes ASCII only, and one line"


ROWS = (
    Row(
        "CONTACT",
        contact,
        None,
        "",
        "an address at which the site's operators reach you; in the user agent",
        "crawl, identity",
        is_environment=True,
    ),
    Row(
        "SHOWDOWN_REPLAY_URL",
        address("http", "https"),
        "https://replay.pokemonshowdown.com",
        "",
        "the replay site",
        "replays",
        is_environment=True,
        is_site=True,
    ),
    Row(
        "REPLAYS_INTERVAL",
        number(),
        60.0,
        "s",
        "between two looks for new replays, with `follow`",
        "replays",
    ),
    Row(
        "REPLAYS_AGAIN",
        number(),
        600.0,
        "s",
        "until the next look at a replay saved in mid-battle, with `follow`",
        "replays",
    ),
    Row(
        "REPLAYS_OVERLAP",
        count(),
        3600,
        "s",
        "how far each look goes back beyond the one before",
        "replays",
    ),
    Row(
        "REPLAYS_SWEEP",
        number(),
        21600.0,
        "s",
        (
            "between two sweeps for replays that became public later than that, with "
            "`follow`; 0: none"
        ),
        "replays",
    ),
    Row(
        "REPLAYS_SWEEP_DAYS",
        number(),
        7.0,
        "days",
        "how far each sweep goes back, but never beyond `since`",
        "replays",
    ),
    Row(
        "SHOWDOWN_SERVER_URL",
        address("ws", "wss"),
        "wss://sim3.psim.us/showdown/websocket",
        "",
        "the battle server",
        "rooms",
        is_environment=True,
        is_site=True,
    ),
    Row(
        "SHOWDOWN_CLIENT_URL",
        address("http", "https", takes_user=False),
        "https://play.pokemonshowdown.com",
        "",
        "the web client, for `via=browser`",
        "rooms",
        is_environment=True,
        is_site=True,
    ),
    Row(
        "ROOMS_INTERVAL",
        number(),
        15.0,
        "s",
        "between two looks at the list of live battles",
        "rooms",
    ),
    Row(
        "ROOMS_STAY",
        number(),
        0.0,
        "s",
        "to wait in a room for the end of its battle; 0: rooms are visited after it",
        "dialogue",
    ),
    Row(
        "ROOMS_SETTLE",
        number(),
        10.0,
        "s",
        "from when a battle is listed no more, or has ended, until it is taken for settled",
        "rooms",
    ),
    Row(
        "ROOMS_AGAIN",
        number(),
        60.0,
        "s",
        "until the next visit to a room whose battle goes on; doubles, up to nine minutes",
        "rooms",
    ),
    Row(
        "ROOMS_GIVE_UP",
        number(),
        3600.0,
        "s",
        "after which a battle without an end is given up",
        "rooms",
    ),
    Row(
        "ROOMS_MESSAGE_INTERVAL",
        number(),
        0.65,
        "s",
        "between two messages on a connection; the server takes one in 0.6 s",
        "dialogue",
    ),
    Row(
        "ROOMS_PER_CONNECTION",
        count(1),
        49,
        "rooms",
        "at a time; with the lobby the server allows fifty",
        "dialogue",
    ),
    Row(
        "BROWSER_PAGES",
        count(1),
        8,
        "pages",
        "of rooms at the same time, with `via=browser`; the list has one of its own",
        "rooms",
    ),
    Row(
        "BROWSER_CONTEXT_PAGES",
        count(1),
        50,
        "pages",
        "of rooms after which their context, and looks after which the list's page is renewed",
        "browser",
    ),
    Row(
        "BROWSER_SCREENSHOTS",
        text,
        ".scrapy/screenshots",
        "",
        "where a picture of an unexpected page is kept",
        "browser",
    ),
    Row(
        "KEEP_UNFINISHED",
        switch,
        False,
        "",
        "keep battles whose players left them without an end",
        "validate",
    ),
    Row(
        "KEEP_CHAT",
        switch,
        False,
        "",
        "keep what people said during the battle",
        "validate",
    ),
    Row(
        "SPOOL_DIR",
        filled,
        ".scrapy/spool",
        "",
        (
            "holds, for each archive and index, a folder of segments that are not stored "
            "yet; a durable disk, if nothing waits for the store"
        ),
        "spools",
        is_environment=True,
    ),
    Row(
        "SCRAPER_SLOT_MAX_ACTIVE_SIZE",
        count(1),
        50000000,
        "bytes",
        ("of replies in work before Scrapy takes no more; a segment holds a third of it at most"),
        "archive",
    ),
    Row(
        "SPOOL_LIMIT",
        count(),
        1073741824,
        "bytes",
        "that may wait there for the store, before the crawl pauses",
        "archive",
    ),
    Row(
        "ARCHIVE_DURABLE",
        choice("store", "disk"),
        "[`store` for a bucket, `disk` for a folder]",
        "",
        (
            "where a battle must be before its request is acknowledged: in the store, or on"
            " this machine's disk"
        ),
        "archive, spools",
    ),
    Row(
        "SEGMENT_RECORDS",
        count(1),
        500,
        "battles",
        "in a segment",
        "archive",
    ),
    Row(
        "SEGMENT_BYTES",
        count(1),
        16777216,
        "bytes",
        "of a segment's lines, before they are compressed",
        "archive",
    ),
    Row(
        "SEGMENT_AGE",
        number(),
        "[30.0 for a bucket, 0.0 for a folder]",
        "s",
        "after which a segment is closed that is not full; 0: whenever it is",
        "archive",
    ),
    Row(
        "SEGMENT_FRAME_RECORDS",
        count(1),
        32,
        "battles",
        "the most that are compressed and made durable at once",
        "archive",
    ),
    Row(
        "SEGMENT_COMMIT_DELAY",
        number(),
        1.0,
        "s",
        "the longest a battle waits for others",
        "archive",
    ),
    Row(
        "INDEX_NAMESPACE",
        filled,
        "battles",
        "",
        "prefix of the index's keys in Redis",
        "index",
    ),
    Row(
        "PSEUDONYM_KEY",
        text,
        None,
        "",
        "the secret that makes pseudonyms; keep it away from the data",
        "export",
        is_environment=True,
    ),
    *validation.ROWS,
)
"""Every setting there is; docs/reference/settings.md shows this table."""


class Validation(validation.Validation):
    """An add-on: refuses settings that make no sense, before anything is begun with them."""

    rows: ClassVar[tuple[Row, ...]] = ROWS
