from __future__ import annotations

import pytest
from scrapy.settings import Settings

from extensions.setting_kinds import Row, SettingError, address, count, table
from extensions.validation import ROWS, Validation, prepare

SECRET = "AWS_SECRET_ACCESS_KEY"  # noqa: S105 -- a name
SITE = Row("SITE", address("http"), None, "", "a site", "nobody", is_site=True)


def prepared(rows=ROWS, **given) -> Settings:
    settings = Settings(given)
    prepare(settings, rows)
    return settings


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("THROTTLE_RATE", "0,5", "give a number of 0 or more, as in 0.5 (requests/s)"),
        ("THROTTLE_RATE", "nan", "give a number of 0 or more, as in 0.5 (requests/s)"),
        ("THROTTLE_BURST", "0", "give a whole number of 1 or more (requests)"),
        ("QUEUE_LEASE", "0.9", "give a number of 1 or more, as in 1 (s)"),
        ("CIRCUIT_BREAKER_SHARE", "2", "give a number from 0 to 1, as in 0.5"),
        ("CIRCUIT_BREAKER_ACTION", "stop", "give hold or close"),
        ("LOG_JSON", "yes", "give 1 or 0"),
        ("DOWNLOAD_TIMEOUTS", "30", 'give an object in JSON, as in {"name": 1} (s)'),
        ("REDIS_ENCODING", "latin-1", "give utf-8 or utf8 or UTF-8"),
        ("REDIS_PORT", "six", "give a whole number of 1 or more"),
        ("ARCHIVE_URL", "a\nb", "give one line of text"),
        ("EMBEDDED_REDIS_DIR", "", "give one line of text, or leave it out"),
        ("SCHEDULER_QUEUE_KEY", "", "give one line of text, or leave it out"),
        ("QUEUE_HOSTS", object, "give hosts as NAME or NAME:PORT, with commas between them"),
        ("QUEUE_HOSTS", "http://x", "give hosts as NAME or NAME:PORT, with commas between them"),
        ("WEBSOCKET_DIALOGUE", "nope.x", "give the path of a class, as in package.module.Class"),
        (
            "WEBSOCKET_DIALOGUE",
            "nope.nope.x",
            "give the path of a class, as in package.module.Class",
        ),
        ("WEBSOCKET_DIALOGUE", "x", "give the path of a class, as in package.module.Class"),
        ("CONCURRENT_ITEMS", "0", "give a whole number of 1 or more (items)"),
        ("CONCURRENT_REQUESTS", "0", "give a whole number of 1 or more (requests)"),
        ("CONCURRENT_REQUESTS_PER_DOMAIN", "0", "give a whole number of 1 or more (requests)"),
        ("DOWNLOAD_TIMEOUT", "0", "give a number above 0, as in 0.5 (s)"),
        ("DOWNLOAD_DELAY", "-1", "give a number of 0 or more, as in 0.5 (s)"),
        ("DOWNLOAD_MAXSIZE", "32M", "give a whole number of 0 or more (bytes)"),
        ("RETRY_TIMES", "-1", "give a whole number of 0 or more (times)"),
        ("CLOSESPIDER_ITEMCOUNT", "ten", "give a whole number of 0 or more (items)"),
        ("CLOSESPIDER_PAGECOUNT", "-1", "give a whole number of 0 or more (pages)"),
        ("CLOSESPIDER_ERRORCOUNT", "-1", "give a whole number of 0 or more (errors)"),
        ("CLOSESPIDER_TIMEOUT", "1h", "give a number of 0 or more, as in 0.5 (s)"),
        ("LOG_LEVEL", "loud", "give CRITICAL or ERROR or WARNING or INFO or DEBUG"),
        (
            "SCHEDULER_QUEUE_KEY",
            "q%",
            "give a name; %(spider)s stands for the spider's, and %% for a percent sign",
        ),
        (
            "TWISTED_REACTOR",
            "twisted.internet.selectreactor.SelectReactor",
            ("give twisted.internet.asyncioreactor.AsyncioSelectorReactor; downloads need asyncio"),
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_to_give(name, value, complaint):
    with pytest.raises(SettingError) as refused:
        prepared(**{name: value})

    assert str(refused.value) == f"{name}={value!r}: {complaint}"


def test_a_secret_that_makes_no_sense_is_not_shown():
    with pytest.raises(SettingError, match=r"^AWS_SECRET_ACCESS_KEY='\*\*\*': give one line"):
        prepared(**{SECRET: "a\nb"})


@pytest.mark.parametrize(
    ("name", "value", "seen"),
    [
        ("REDIS_PARAMS", '{"password": "pa55"', "REDIS_PARAMS='***': give an object in JSON"),
        ("REDIS_PARAMS", {"password": "pa55", "db": "x"}, "REDIS_PARAMS='***': db: give a whole"),
        ("THROTTLE_HOSTS", '{"http://bob:pa55@host":"x"}', "THROTTLE_HOSTS['http://***@host']: "),
        ("THROTTLE_HOSTS", '{"http://bob:pa55@host":1', "THROTTLE_HOSTS='{\"http://***@host\":1'"),
        ("QUEUE_HOSTS", "a.example,bob:pa55@host", "QUEUE_HOSTS='***@host': give hosts"),
        ("AWS_ENDPOINT_URL", "https://bob:pa55@host", "AWS_ENDPOINT_URL='https://***@host': give "),
        ("REDIS_URL", "redis://:12/pa55@host/0", "REDIS_URL='***@host/0': give redis://HOST:PORT"),
    ],
)
def test_a_refusal_shows_no_password(name, value, seen):
    with pytest.raises(ValueError, match=name) as refused:
        prepared(**{name: value})

    assert str(refused.value).startswith(seen)
    assert "pa55" not in str(refused.value)


@pytest.mark.parametrize("given", ["abc", "5", -1, 0])
def test_a_timeout_that_no_socket_takes_is_refused(given):
    words = r"^REDIS_PARAMS='\*\*\*': socket_timeout: give a number above 0"

    with pytest.raises(SettingError, match=words):
        prepared(REDIS_PARAMS={"socket_timeout": given})


def test_a_database_of_redis_is_a_number():
    with pytest.raises(SettingError, match=r"^REDIS_URL='redis://host/abc': give redis://HOST"):
        prepared(REDIS_URL="redis://host/abc")
    for url in ("", "redis://host", "redis://host/", "rediss://host/3", "unix:///run/a.sock?db=1"):
        prepared(REDIS_URL=url)


def test_an_empty_address_of_a_store_is_none():
    assert prepared(AWS_ENDPOINT_URL="")["AWS_ENDPOINT_URL"] == ""


@pytest.mark.parametrize("given", [{"THROTTLE_RATE": "1e-5"}, {"THROTTLE_HOSTS": {"a": 1e-5}}])
def test_a_rate_that_is_next_to_none_is_refused(given):
    with pytest.raises(ValueError, match=r"0: any, or 0\.0001 or more"):
        prepared(**given)


def test_hosts_of_the_queue_may_have_ports():
    prepared(QUEUE_HOSTS="a.example, [::1]:80,b:8000,")
    prepared(QUEUE_HOSTS=["a.example"])


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("THROTTLE_CONCURENCY", "THROTTLE_CONCURRENCY"),
        ("SCHEDULER_PRESIST", "SCHEDULER_PERSIST"),
        ("REDIS_ULR", "REDIS_URL"),
        ("CONCURENT_ITEMS", "CONCURRENT_ITEMS"),
    ],
)
def test_a_name_that_the_command_line_misspells_is_refused(name, meant):
    settings = Settings()
    settings.set(name, "3", priority="cmdline")

    with pytest.raises(SettingError, match=f"^{name} is no setting: did you mean {meant}"):
        prepare(settings, ROWS)


@pytest.mark.parametrize("name", ["MINE", "SCHEDULER_QUEUE_CLASS", "DOWNLOAD_TIMEOUT", "REDIS_URL"])
def test_a_name_of_ones_own_is_left_alone(name):
    settings = Settings({"REDIS_ULR": "of a project"})
    settings.set(name, "3", priority="cmdline")

    prepare(settings, ROWS)


def test_limits_of_hosts_are_checked_as_well():
    with pytest.raises(ValueError, match="THROTTLE_HOSTS"):
        prepared(THROTTLE_HOSTS='{"a.example": "fast"}')


def test_what_windows_leaves_at_the_end_of_a_line_is_stripped():
    settings = prepared(ARCHIVE_URL="data\r", THROTTLE_RATE=" 3 ", REDIS_URL="redis://host\r\n")

    assert settings["ARCHIVE_URL"] == "data"
    assert settings["THROTTLE_RATE"] == "3"
    assert settings["REDIS_URL"] == "redis://host"


def test_a_value_keeps_its_priority():
    settings = Settings()
    settings.set("ARCHIVE_URL", "data\r", priority="cmdline")

    prepare(settings, ROWS)

    assert settings.getpriority("ARCHIVE_URL") == 40


def test_no_secret_is_shown_whosever_setting_it_is():
    settings = prepared(**{SECRET: "abc"}, REDIS_URL="redis://ann:abc@host", MINE_KEY="abc")

    shown = repr([settings[name] for name in (SECRET, "REDIS_URL", "MINE_KEY")])
    assert shown == "['***', 'redis://***@host', '***']"
    assert settings[SECRET] == "abc"


def test_user_and_password_leave_the_address_of_a_site():
    settings = prepared((*ROWS, SITE), SITE="http://ann:a%40b@host:8000/x")

    assert settings["SITE"] == "http://host:8000/x"
    assert settings.getdict("SITE_CREDENTIALS") == {"http://host:8000": "ann:a@b"}


def test_to_prepare_settings_twice_changes_nothing():
    settings = prepared((*ROWS, SITE), SITE="http://ann:word@host", ARCHIVE_URL="data ")
    before = settings.copy_to_dict()

    prepare(settings, (*ROWS, SITE))

    assert settings.copy_to_dict() == before


def test_a_site_that_takes_no_user_is_refused_one():
    row = Row("SITE", address("http", takes_user=False), None, "", "a site", "nobody")

    with pytest.raises(SettingError, match=r"^SITE='http://\*\*\*@host': give it without user"):
        prepared((row,), SITE="http://ann:word@host")


def test_the_add_on_refuses_and_tidies():
    settings = Settings({"ARCHIVE_URL": "data\r"})
    Validation().update_settings(settings)

    assert settings["ARCHIVE_URL"] == "data"
    with pytest.raises(SettingError):
        Validation().update_settings(Settings({"THROTTLE_RATE": "0,5"}))


def test_the_table_shows_a_row_as_people_read_it():
    rows = (
        Row("A", count(), 3, "s", "waits", "here", is_environment=True),
        Row("B", count(), None, "", "is nothing", "there"),
        Row("C", count(), {"a": 1}, "", "is json", "there"),
        Row("D", count(), "[1 here, 2 there]", "", "is told", "there"),
    )

    assert table(rows).splitlines()[2:] == [
        "| `A` E | 3 | s | waits | here |",
        "| `B` | \N{EN DASH} | \N{EN DASH} | is nothing | there |",
        '| `C` | `{"a": 1}` | \N{EN DASH} | is json | there |',
        "| `D` | 1 here, 2 there | \N{EN DASH} | is told | there |",
    ]
