from __future__ import annotations

import json

import pytest

from extensions.hosts import Hosts, Limit, Policy, database_of
from extensions.keys import HostKeys

SITE = "replay.example"
LIMIT = Limit(rate=100.0)


@pytest.fixture
def hosts(redis) -> Hosts:
    return Hosts(redis, HostKeys().namespace)


@pytest.fixture
def used(hosts) -> Hosts:
    """Have three requests go to the site."""
    hosts.acquire(SITE, 3, LIMIT, ahead=0.5, longest=60.0)
    return hosts


def hold(hosts: Hosts, reason: str = "HTTP 429") -> None:
    hosts.hold(SITE, reason, asked=600.0, default=1.0, longest=1e6)


# --- Show -----------------------------------------------------------------------------------------


def test_a_fleet_that_asked_nobody_has_nothing_to_show(scrapy):
    outcome = scrapy("throttle", USER_AGENT="battles (+a@b.example)")

    assert (outcome.status, outcome.output) == (0, "user agent: battles (+a@b.example)\n")


def test_each_host_has_a_line(scrapy, used):
    used.acquire("a.example:8000", 1, LIMIT, ahead=0.5, longest=60.0)

    outcome = scrapy("throttle", THROTTLE_RATE="2.5")

    assert outcome.lines[1:] == [
        "a.example:8000: 2.5 requests a second, 1 in the last minute, 1 in all",
        "replay.example: 2.5 requests a second, 3 in the last minute, 3 in all",
    ]


def test_one_host_can_be_asked_for(scrapy, used):
    used.acquire("a.example", 1, LIMIT, ahead=0.5, longest=60.0)

    outcome = scrapy("throttle", "https://Replay.Example/", THROTTLE_RATE="0")

    [_, line] = outcome.lines
    assert line == "replay.example: any number of requests, 3 in the last minute, 3 in all"


def test_a_line_says_what_is_out_of_the_ordinary(scrapy, used):
    used.set_crawl_delay(SITE, 2.5)
    used.report(SITE, Policy(errors=1, hold=600.0), failures=1, reason="HTTP 500")

    outcome = scrapy("throttle", SITE, THROTTLE_CONCURRENCY="4")

    parts = outcome.lines[1].split("; ")
    assert parts[1:4] == [
        "robots.txt asks for 2.5 s between two",
        "4 at a time",
        "breaker open",
    ]
    assert parts[4] in ("held for 600 s: HTTP 500", "held for 599 s: HTTP 500")


def test_everything_is_printed_as_json(scrapy, used):
    hold(used)
    used.set_rate(SITE, 7.0)

    outcome = scrapy("throttle", "--json", THROTTLE_BURST="2")

    [host] = json.loads(outcome.output)
    assert host.pop("held") == pytest.approx(600.0, abs=5.0)
    assert host == {
        "name": SITE,
        "breaker": "closed",
        "reason": "HTTP 429",
        "begun": 3,
        "total": 3,
        "set_rate": pytest.approx(7.0),
        "crawl_delay": 0.0,
        "rate": pytest.approx(7.0),
        "burst": 2,
        "concurrency": 0,
        "used": 0.05,
    }


def test_without_a_rate_of_its_own_a_host_has_that_of_the_settings(scrapy, used):  # noqa: ARG001 -- it is known
    outcome = scrapy("throttle", "--json", THROTTLE_HOSTS='{"replay.example": 3}')

    [host] = json.loads(outcome.output)
    assert (host["rate"], host["set_rate"]) == (3.0, None)


# --- Change ---------------------------------------------------------------------------------------


def test_a_rate_is_set_for_all_workers(scrapy, hosts):
    outcome = scrapy("throttle", SITE, "12.5")

    [host] = hosts.status()
    assert host.set_rate == pytest.approx(12.5)
    assert outcome.lines[1].startswith("replay.example: 12.5 requests a second (set), ")


def test_a_rate_of_zero_lets_any_number_go(scrapy, hosts):
    outcome = scrapy("throttle", SITE, "0")

    assert hosts.status()[0].set_rate == 0.0
    assert outcome.lines[1].startswith("replay.example: any number of requests (set), ")


def test_a_rate_can_be_taken_back(scrapy, hosts):
    hosts.set_rate(SITE, 7.0)

    outcome = scrapy("throttle", SITE, "default", THROTTLE_RATE="2")

    assert hosts.status()[0].set_rate is None
    assert outcome.lines[1].startswith("replay.example: 2 requests a second, ")


def test_a_hold_can_be_ended(scrapy, used):
    hold(used)

    outcome = scrapy("throttle", SITE, "open")

    assert used.gates() == {}
    assert "held" not in outcome.lines[1]


def test_workers_hear_of_a_change(scrapy, redis):
    channel = redis.pubsub(ignore_subscribe_messages=True)
    channel.subscribe(HostKeys().news(database_of(redis)))
    channel.get_message(timeout=1.0)

    scrapy("throttle", SITE, "5")

    assert json.loads(channel.get_message(timeout=1.0)["data"]) == [SITE, None]
    channel.close()


# --- Mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", ["fast", "-1", "nan", "inf", "", "Open"])
def test_what_is_neither_a_rate_nor_a_word_is_refused(scrapy, hosts, rate):
    outcome = scrapy("throttle", SITE, rate)

    assert outcome.status == 2
    assert outcome.complaint == (f"{rate!r}: give requests a second (0: any), `default` or `open`")
    assert hosts.status() == []


@pytest.mark.parametrize(
    "host",
    [
        *("", " ", "a host", "https://", "default", "Open", "0.5", "1e3", "a.example:"),
        *("a.example:http", "a.example:99999", "a.example:0", ".", "*", "[half", "[1.2"),
    ],
)
def test_what_is_no_host_is_refused(scrapy, hosts, host):
    outcome = scrapy("throttle", host, "1")

    assert outcome.status == 2
    assert outcome.complaint == (
        f"{host!r} is no host: `scrapy throttle HOST RATE`, as in `scrapy throttle "
        "replay.example.org 0.5`; `default` or `open` stand in the place of the rate"
    )
    assert hosts.status() == []


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ("https://me:word@Replay.Example/gen9ou-1?x=1#end", "replay.example"),
        ("replay.example/gen9ou-1", "replay.example"),
        ("wss://replay.example:8000/showdown/websocket", "replay.example:8000"),
        ("127.0.0.1", "127.0.0.1"),
        ("http://[::1]:8000/", "[::1]:8000"),
        ("localhost", "localhost"),
    ],
)
def test_an_address_is_reduced_to_its_host(scrapy, hosts, given, host):
    outcome = scrapy("throttle", given, "3")

    assert outcome.status == 0
    assert [one.name for one in hosts.status()] == [host]


def test_a_host_is_steered_whatever_is_wrong_with_the_archive(scrapy, hosts):
    outcome = scrapy("throttle", SITE, "5", ARCHIVE_URL="s3:nonsense")

    assert (outcome.status, outcome.errors) == (0, "")
    assert hosts.status()[0].set_rate == pytest.approx(5.0)


def test_one_change_is_made_at_a_time(scrapy, hosts):
    outcome = scrapy("throttle", SITE, "5", "other.example", "6")

    assert outcome.status == 2
    assert outcome.complaint == "'other.example 6' is too much: give a host and a rate"
    assert hosts.status() == []


def test_a_setting_that_makes_no_sense_is_named(scrapy):
    outcome = scrapy("throttle", THROTTLE_RATE="fast")

    assert outcome.status == 2
    assert outcome.complaint == (
        "THROTTLE_RATE='fast': give a number of 0 or more, as in 0.5 (requests/s)"
    )


def test_a_redis_that_is_away_is_named(scrapy):
    outcome = scrapy("throttle", REDIS_URL="redis://127.0.0.1:1")

    assert outcome.status == 1
    assert outcome.complaint.startswith("Redis does not answer: ")
