"""The promises of one worker: everything public, once, whole, whatever the site does."""

from __future__ import annotations

import json
import signal
import time

from battles.index import BattleIndex
from tests.integration.fleet import public_ids, seeded

AWKWARD = ("--ties", "3", "--burst", "120", "--private-every", "40")


def test_every_public_battle_is_there_once_and_nothing_else(fleet_of):
    fleet = fleet_of(*AWKWARD)

    fleet.crawl()

    exported = fleet.exported()
    assert len(exported) == len(set(exported))
    assert set(exported) == public_ids(private_every=40)


def test_one_format_is_walked_through_a_crowded_second(fleet_of):
    fleet = fleet_of(*AWKWARD)

    fleet.crawl("formats=gen9randombattle")

    offered = {id for id in public_ids(private_every=40) if id.startswith("gen9randombattle-")}
    assert fleet.stored() == sorted(offered)


def test_a_second_crawl_fetches_no_battle_again(fleet_of):
    fleet = fleet_of("--battles", "200")
    fleet.crawl()

    fleet.crawl()

    fetched = fleet.site.fetched()
    assert len(fetched) == len(set(fetched)) == 200


def test_a_site_that_fails_one_time_in_ten_loses_nothing(fleet_of):
    faults = ("--garbage", "0.05", "--refused", "0.03", "--truncated", "0.02")
    fleet = fleet_of(*AWKWARD, *faults)

    log = fleet.crawl()

    assert fleet.stored() == sorted(public_ids(private_every=40))
    assert "Traceback" not in log


def test_a_killed_crawl_is_made_whole_by_the_next(fleet_of, capsys):
    fleet, chance = fleet_of(*AWKWARD, SEGMENT_FRAME_RECORDS="8"), seeded(capsys)
    worker = fleet.start()
    wanted = chance.randrange(50, 1500)
    while len(fleet.site.fetched()) < wanted:
        time.sleep(0.02)
    worker.send_signal(signal.SIGKILL)
    worker.wait()

    fleet.crawl()

    assert fleet.stored() == sorted(public_ids(private_every=40))


def test_a_torn_spool_is_cut_and_said_so(fleet_of):
    fleet = fleet_of("--battles", "300", "--latency", "0.05")
    worker = fleet.start()
    while not (spooled := [path for path in fleet.spooled() if path.stat().st_size > 0]):
        time.sleep(0.02)
    worker.kill()
    worker.wait()
    with spooled[0].open("ab") as file:
        file.write(spooled[0].read_bytes()[:30])

    log = fleet.crawl()

    assert "was torn by a crash: 30 bytes cut" in log
    assert fleet.stored() == sorted(public_ids(battles=300))


def test_the_limit_stops_after_the_newest_so_many(fleet_of):
    fleet = fleet_of("--ties", "3")

    fleet.crawl("limit=60", "formats=gen9ou")

    assert len(fleet.stored()) == 60


class PickyPipeline:
    """Somebody's own, after ours, which has no use for anything."""

    def process_item(self, _item):
        raise ValueError("no room")


def test_a_failure_of_somebodys_pipeline_has_nothing_fetched_again(fleet_of):
    ours = {"validate.ValidatePipeline": 1, "archive.ArchivePipeline": 2, "index.IndexPipeline": 3}
    pipelines = {f"battles.pipelines.{name}": order for name, order in ours.items()}
    pipelines[f"{__name__}.{PickyPipeline.__name__}"] = 900
    fleet = fleet_of("--battles", "60", ITEM_PIPELINES=json.dumps(pipelines))

    fleet.crawl()

    assert sorted(fleet.site.fetched()) == fleet.stored() == sorted(public_ids(battles=60))
    reasons = {letter["reason"] for letter in fleet.queue().dead_letters().values()}
    assert reasons == {"PickyPipeline (ValueError) failed after the item was stored: no room"}
    assert fleet.status().dead_letters == 60


def test_battles_of_a_damaged_segment_are_found_missing_and_fetched_again(fleet_of):
    fleet = fleet_of("--battles", "300", SEGMENT_RECORDS="50")
    fleet.crawl()
    path = sorted((fleet.folder / "data").rglob("*.zst"))[1]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    lost = json.loads(fleet.run("verify", "--json", check=False).stdout)["missing"]
    assert 0 < len(lost) <= 50
    assert set(fleet.exported()) == public_ids(battles=300) - lost.keys()
    fleet.run("verify", "--refetch")
    fleet.crawl()

    fleet.run("verify")
    assert fleet.stored() == sorted(public_ids(battles=300))


def test_what_a_killed_crawl_left_is_not_brought_into_another_archive(fleet_of):
    fleet = fleet_of("--battles", "200", "--latency", "0.05")
    worker = fleet.start()
    while not len(BattleIndex(fleet.client())):
        time.sleep(0.05)
    fleet.kill(worker)
    other = {"ARCHIVE_URL": str(fleet.folder / "other"), "INDEX_NAMESPACE": "other"}
    other["SCHEDULER_QUEUE_KEY"] = "other"
    fleet.settings |= other

    log = fleet.crawl("formats=gen1ou", "limit=1")
    held = len(BattleIndex(fleet.client(), "other"))
    for name in other:
        del fleet.settings[name]
    fleet.crawl()

    assert "1 segments in" in log
    assert f"belong to the archive {fleet.folder / 'data'}" in log
    assert held <= 1
    assert fleet.stored() == sorted(public_ids(battles=200))
    assert fleet.spooled("*") == []


def test_what_a_killed_crawl_left_is_found_when_its_folder_is_moved(fleet_of, tmp_path):
    before = tmp_path / "before"
    before.mkdir()
    fleet = fleet_of("--latency", "0.05", "--battles", "120", SEGMENT_RECORDS="1000")
    fleet.places = {"ARCHIVE_URL": str(before / "data")}
    fleet.settings |= {"SPOOL_DIR": str(before / "spool")}
    worker = fleet.start()
    while len(BattleIndex(fleet.client())) < 30:
        time.sleep(0.05)
    fleet.kill(worker)
    after = before.rename(tmp_path / "after")

    fleet.places = {"ARCHIVE_URL": str(after / "data")}
    fleet.settings |= {"SPOOL_DIR": str(after / "spool")}
    log = fleet.crawl()

    assert "'spool/segments_recovered': 1" in log
    assert sorted(fleet.exported()) == sorted(public_ids(battles=120))
