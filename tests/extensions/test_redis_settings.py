from __future__ import annotations

import pytest
from scrapy.settings import Settings

from extensions.connection import connect, identity
from extensions.redis_settings import redis_parameters, redis_url


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, None),
        ({"REDIS_HOST": "cache"}, "redis://cache:6379/0"),
        ({"REDIS_PORT": "6380"}, "redis://localhost:6380/0"),
        ({"REDIS_HOST": "cache", "REDIS_PORT": 6380, "REDIS_DB": 2}, "redis://cache:6380/2"),
        ({"REDIS_HOST": "::1"}, "redis://[::1]:6379/0"),
        ({"REDIS_PARAMS": '{"host": "cache", "db": 3}'}, "redis://cache:6379/3"),
        ({"REDIS_PARAMS": {"unix_socket_path": "/a b"}}, "unix:///a%20b?db=0"),
        ({"REDIS_HOST": "cache", "REDIS_URL": "redis://other"}, "redis://other"),
    ],
)
def test_redis_is_the_one_that_scrapy_redis_would_take(given, url):
    assert redis_url(Settings(given)) == url


def test_parameters_are_all_but_those_of_the_place_and_of_others():
    given = {"host": "cache", "password": "word", "decode_responses": True, "encoding": "latin-1"}

    assert redis_parameters(Settings({"REDIS_PARAMS": given})) == {"password": "word"}


def test_a_named_host_is_the_one_that_is_asked_and_no_server_is_started(tmp_path):
    folder = tmp_path / "redis"
    settings = Settings({"REDIS_HOST": "cache", "EMBEDDED_REDIS_DIR": str(folder)})

    with connect(settings) as redis:
        assert redis.connection_pool.connection_kwargs["host"] == "cache"
    assert identity(settings) == "cache:6379/0"
    assert not folder.exists()
