from __future__ import annotations

import pprint

import pytest

from extensions.credentials import (
    Credentials,
    Secret,
    is_secret,
    masked,
    shown,
    userinfo,
    without_userinfo,
)

WORD = "pa:ss"


@pytest.mark.parametrize(
    ("name", "value", "is_one"),
    [
        ("AWS_SECRET_ACCESS_KEY", "abc", True),
        ("AWS_SESSION_TOKEN", "abc", True),
        ("FTP_PASSWORD", "abc", True),
        ("MAIL_PASS", "abc", True),
        ("REDIS_URL", "redis://u:p@host", True),
        ("REDIS_URL", "redis://host?password=p", True),
        ("ANY", "https://u@host/", True),
        ("REDIS_URL", "redis://host", False),
        ("CONTACT", "https://host/@me", False),
        ("SCHEDULER_QUEUE_KEY", "q", False),
        ("PSEUDONYM_KEY", "", False),
    ],
)
def test_what_looks_like_a_secret_is_one(name, value, is_one):
    assert is_secret(name, value) is is_one
    assert (shown(name, value) != repr(value)) is is_one


def test_a_log_of_settings_shows_no_secret_and_the_value_stays():
    settings = {"KEY": Secret("abc"), "URL": Secret("redis://u:abc@host/0")}

    assert "abc" not in pprint.pformat(settings)
    assert "redis://***@host/0" in pprint.pformat(settings)
    assert settings["KEY"] == "abc"


def test_an_address_is_parted_into_what_all_may_see_and_what_not():
    url = "http://us%40er:pa%3Ass@host:80/x?y=a@b"

    assert without_userinfo(url) == "http://host:80/x?y=a@b"
    assert userinfo(url) == f"us@er:{WORD}"
    assert masked(url) == "http://***@host:80/x?y=a@b"
    assert userinfo("http://host/@x") is None


@pytest.mark.parametrize(
    ("url", "is_sent"),
    [
        ("https://host/a", True),
        ("https://HOST:443/a", True),
        ("http://host/a", False),
        ("https://host:8443/a", False),
        ("https://other/a", False),
        ("https://host.other/a", False),
    ],
)
def test_credentials_go_to_their_own_site_alone(url, is_sent):
    credentials = Credentials({"https://host": "ann:word"})

    assert credentials.header_for(url) == (
        {"Authorization": "Basic YW5uOndvcmQ="} if is_sent else {}
    )
