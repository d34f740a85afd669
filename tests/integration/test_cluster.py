"""A fleet over a Redis cluster: the same crawl, and what a lost node costs."""

from __future__ import annotations

import json
import time

import pytest
from redis import Redis
from redis.cluster import RedisCluster
from scrapy.settings import Settings

from battles.index import BattleIndex, Query
from extensions.connection import UnreachableError, check, check_memory, connect, evicted_keys
from extensions.hosts import Hosts, Limit, Policy
from extensions.queue import RequestQueue
from tests.cluster import programs, running_cluster
from tests.integration.fleet import PATIENCE, public_ids, tail

PROGRAMS = programs()


@pytest.fixture(scope="module", params=PROGRAMS)
def cluster(request, tmp_path_factory):
    with running_cluster(tmp_path_factory.mktemp("cluster"), PROGRAMS[request.param]) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    client = connect(Settings({"REDIS_URL": cluster.url, "REDIS_CLUSTER": "1"}))
    client.flushall(target_nodes=RedisCluster.PRIMARIES)
    return client


@pytest.fixture
def fleet(fleet_of, cluster, client):  # noqa: ARG001 -- emptied before
    fleet = fleet_of("--battles", "400", "--ties", "3")
    fleet.places = {"REDIS_URL": cluster.url, "REDIS_CLUSTER": "1"}
    return fleet


def test_a_crawl_over_a_cluster_archives_everything_once(fleet, client):
    for _ in range(2):
        fleet.start()
    fleet.wait()

    index = BattleIndex(client)
    assert sorted(row.id for row in index.search(Query())) == sorted(public_ids(battles=400))
    assert fleet.searched() == fleet.searched()
    assert sorted(fleet.searched()) == sorted(public_ids(battles=400))
    queue = json.loads(fleet.run("queue", "--json").stdout)
    assert (queue["left"], queue["imbalance"], queue["dead_letters"]) == (0, 0, 0)


def test_a_node_that_is_killed_and_comes_back_is_a_pause(fleet, cluster, client):
    fleet.settings = {"CONCURRENT_REQUESTS": "2"}
    workers = [fleet.start(), fleet.start()]
    index = BattleIndex(client)
    for position in range(3):
        before = len(index)
        while len(index) < min(400, before + 20) and any(one.poll() is None for one in workers):
            time.sleep(0.05)
        cluster.restart(position)
    fleet.wait()

    # What a node had not written to its disk is fetched again; nothing is lost.
    assert sorted(row.id for row in index.search(Query())) == sorted(public_ids(battles=400))
    status = RequestQueue(client, "replays:queue").status()
    assert (status.left, status.imbalance()) == (0, 0), tail(workers[0])


def test_a_cluster_of_which_no_node_answers_is_a_pause(fleet, cluster, client):
    fleet.settings = {"CONCURRENT_REQUESTS": "2"}
    worker = fleet.start()
    index = BattleIndex(client)
    while len(index) < 20:
        time.sleep(0.05)
    cluster.stop()
    time.sleep(5.0)
    cluster.restart_all()

    assert worker.wait(PATIENCE) == 0, tail(worker)
    log = worker.log.read_text()
    assert "Traceback" not in log
    assert sorted(row.id for row in index.search(Query())) == sorted(public_ids(battles=400))
    assert RequestQueue(client, "replays:queue").status().dead_letters == 0


def test_a_rebuilt_index_takes_the_place_of_the_old_one(fleet, client):
    fleet.crawl("limit=50")
    before = sorted(row.id for row in BattleIndex(client).search(Query()))

    fleet.run("reindex", "--yes")

    assert sorted(row.id for row in BattleIndex(client).search(Query())) == before
    assert len(before) == 50


def test_every_key_is_tagged(fleet, client):
    fleet.crawl("limit=50")

    tags = {key.partition(b"}")[0] for key in client.scan_iter()}

    assert tags == {b"{replays", b"{throttle", b"{battles"}


def test_what_is_asked_of_one_server_is_asked_of_all(client):
    check(client)
    check_memory(client)

    assert evicted_keys(client) == 0


def test_hosts_are_shared_and_news_heard(client):
    hosts = Hosts(client, "throttle", worker="a")
    channel = client.pubsub(ignore_subscribe_messages=True)
    channel.subscribe(hosts.news)
    channel.get_message(timeout=1.0)

    hosts.set_rate("site", 5.0)
    told = channel.get_message(timeout=2.0)
    grant = hosts.acquire("site", 2, Limit(), ahead=0.5, longest=60.0)
    changes = [hosts.report("site", Policy(errors=2), failures=1).change for _ in range(2)]
    hosts.reopen("site")

    assert json.loads(told["data"]) == ["site", None]
    assert len(grant.permits) == 2
    assert changes == ["", "tripped"]
    assert hosts.gates() == {}
    channel.close()


def test_a_server_that_is_no_cluster_is_said_in_one_line(redis_url):
    url = redis_url if redis_url.startswith("redis:") else None
    if url is None:
        with pytest.raises(ValueError, match="REDIS_CLUSTER is set: give the address of a node"):
            connect(Settings({"REDIS_URL": redis_url, "REDIS_CLUSTER": "1"}))
        return
    with pytest.raises(UnreachableError, match="The cluster at REDIS_URL cannot be used: "):
        connect(Settings({"REDIS_URL": url, "REDIS_CLUSTER": "1"}))


def test_a_cluster_that_is_not_said_to_be_one_ends_a_crawl(fleet, cluster):
    fleet.places = {"REDIS_URL": cluster.url}

    worker = fleet.start()

    assert worker.wait(60) == 1
    log = worker.log.read_text()
    assert "Traceback" not in log
    assert "REDIS_CLUSTER" in log


def test_the_nodes_know_each_other(cluster):
    sizes = {Redis(port=port).cluster("INFO")["cluster_size"] for port in cluster.ports}

    assert sizes == {"3"}
