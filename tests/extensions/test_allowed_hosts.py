from __future__ import annotations

import pytest
from scrapy import Request, Spider
from scrapy.settings import Settings

from extensions.allowed_hosts import AllowedHosts, may_lead

SITE = "https://site.example"
METADATA = "http://169.254.169.254/latest/meta-data"


class SiteSpider(Spider):
    name = "site"
    sites = ("SITE_URL", "OTHER_URL", "UNSET_URL")


class AnySpider(Spider):
    name = "any"


def allowed(spider: type[Spider] = SiteSpider, **settings) -> AllowedHosts:
    sites = {"SITE_URL": SITE, "OTHER_URL": "wss://Other.example:8000/socket"}
    return AllowedHosts.of(spider(), Settings({**sites, "REDIRECT_ENABLED": False, **settings}))


@pytest.mark.parametrize(
    "url", [f"{SITE}/page", "https://SITE.example/", "http://other.example:8000/", f"{SITE}?a@b"]
)
def test_the_hosts_that_the_spiders_settings_name_are_allowed(url):
    assert allowed().objection(Request(url)) is None


@pytest.mark.parametrize(
    "url",
    [
        METADATA,
        "http://localhost:6379/",
        "https://other.example/",
        "https://site.example.evil.example/",
        "https://site.example@evil.example/",
        "https://evil.example#@site.example/",
        "https://evil.example/https://site.example/",
        "data:,x",
    ],
)
def test_every_other_host_is_not(url):
    assert "is no host of this crawl's settings" in str(allowed().objection(Request(url)))


def test_a_setting_names_more():
    hosts = allowed(QUEUE_HOSTS="third.example, [::1]:80")

    assert hosts.objection(Request("http://third.example/")) is None
    assert hosts.objection(Request("http://[::1]:80/")) is None
    assert hosts.objection(Request(SITE)) is None


def test_who_names_none_allows_all():
    assert allowed(AnySpider).objection(Request(METADATA)) is None


@pytest.mark.parametrize(
    ("redirects", "origin", "url", "is_allowed"),
    [
        (True, SITE, "https://elsewhere.example/", True),
        (False, SITE, "https://elsewhere.example/", False),
        (True, "https://evil.example", "https://elsewhere.example/", False),
        (True, SITE, METADATA, False),
        (True, None, "https://elsewhere.example/", False),
    ],
)
def test_a_redirect_of_such_a_host_may_lead_elsewhere(redirects, origin, url, is_allowed):
    request = Request(url, meta={"redirect_times": 1, "redirect_urls": [origin]})

    objection = allowed(REDIRECT_ENABLED=redirects).objection(request)

    assert (objection is None) == is_allowed


@pytest.mark.parametrize(
    "target",
    [
        METADATA,
        "http://10.0.0.1/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://[::1]/",
        "http://[fd00::1]/",
        "http://localhost/",
        "http://db.internal/",
        "http://redis/",
        "http://LOCALHOST./",
    ],
)
def test_nobody_on_the_internet_leads_into_a_private_network(target):
    assert not may_lead(SITE, target)
    assert may_lead("http://127.0.0.1:8000/", target)


def test_what_is_on_the_internet_leads_there():
    assert may_lead(SITE, "https://9.9.9.9/")
    assert may_lead(SITE, "https://site.example/")


def test_a_name_of_other_letters_is_allowed_as_requests_write_it():
    site = "https://Bücher.example/"

    assert allowed(SITE_URL=site).objection(Request(f"{site}page")) is None
