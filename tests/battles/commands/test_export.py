from __future__ import annotations

import json
import re
from dataclasses import replace

import pandas as pd
import pytest


@pytest.fixture
def full(archive, battles):
    archive.keep(battles)
    return archive


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize(
    ("name", "arguments", "read"),
    [
        pytest.param("x.parquet", [], pd.read_parquet, id="parquet"),
        pytest.param("folder", [], pd.read_parquet, id="a folder"),
        pytest.param("x.jsonl", [], lambda p: pd.read_json(p, lines=True), id="jsonl"),
        pytest.param(
            "x.jsonl.zst", ["--as", "jsonl"], lambda p: pd.read_json(p, lines=True), id="jsonl.zst"
        ),
    ],
)
def test_everything_is_written_to(scrapy, battles, tmp_path, name, arguments, read):
    target = tmp_path / name

    outcome = scrapy("export", "--to", str(target), *arguments)

    assert (outcome.status, outcome.lines) == (0, [f"{len(battles)} battles in {target}"])
    assert set(read(target)["id"]) == {battle.id for battle in battles}


@pytest.mark.usefixtures("full")
def test_filters_are_obeyed(scrapy, battles, tmp_path):
    target = tmp_path / "x.parquet"

    scrapy("export", "--to", str(target), "--format", "gen9ou")

    expected = {battle.id for battle in battles if battle.formatid == "gen9ou"}
    assert set(pd.read_parquet(target)["id"]) == expected


@pytest.mark.usefixtures("full")
def test_the_outcome_is_printed_as_json(scrapy, battles, tmp_path):
    target = tmp_path / "x.parquet"

    outcome = scrapy("export", "--json", "--to", str(target))

    printed = [json.loads(line) for line in outcome.lines]
    assert printed == [{"battles": len(battles), "to": str(target)}]


@pytest.mark.usefixtures("full")
def test_pseudonyms_replace_every_name(scrapy, battles, tmp_path):
    target = tmp_path / "x.parquet"

    scrapy("export", "--to", str(target), "--pseudonyms", PSEUDONYM_KEY="a key")

    names = {player["name"] for players in pd.read_parquet(target)["players"] for player in players}
    assert not names & {player.name for battle in battles for player in battle.players}
    assert {name[: len("player-")] for name in names} == {"player-"}


@pytest.mark.usefixtures("full")
def test_nothing_found_is_said_so(scrapy, battles, tmp_path):
    outcome = scrapy("export", "--to", str(tmp_path / "x.jsonl"), "--player", "Nobody At All")

    assert outcome.status == 1
    assert outcome.complaint == (
        f"no battle of a player 'nobodyatall' among {len(battles)} battles"
    )


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize(
    ("to", "complaint"),
    [
        pytest.param(".", "is there already, and is no export", id="a full folder"),
        pytest.param("file/x.parquet", "File exists", id="below a file"),
    ],
)
def test_a_target_that_will_not_do_is_said_so(scrapy, tmp_path, to, complaint):
    (tmp_path / "file").touch()

    outcome = scrapy("export", "--to", str(tmp_path / to))

    assert (outcome.status, outcome.output) == (1, "")
    assert complaint in outcome.complaint


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        pytest.param([], "say where to: `scrapy export --to", id="no target"),
        pytest.param(["--to", ""], "say where to: `scrapy export --to", id="an empty target"),
        pytest.param(["--to", "x", "y"], "'y' is too much: --to takes one", id="two targets"),
        pytest.param(["--to", "x", "--limit", "2"], "'--limit' is no option", id="no option"),
        pytest.param(["--to", "x.csv"], "x.csv ends in .csv: give .parquet, ", id="ending"),
        pytest.param(["--to", "a.JSONL"], "a.JSONL ends in .JSONL: give", id="capitals"),
        pytest.param(["--to", "a.jsonl.gz"], "a.jsonl.gz ends in .gz: give", id="compression"),
        pytest.param(["--to", "s3://x/y.parquet"], "s3:/x/y.parquet is an address", id="address"),
        pytest.param(["--to", "-"], "nothing is exported to standard output", id="output"),
        pytest.param(
            ["--to", "x.parquet", "--as", "jsonl"], "x.parquet would be parquet, not", id="as"
        ),
        pytest.param(
            ["--to", "x", "--since", "2026-11-20", "--until", "2026-11-01"],
            "--since is not before --until",
            id="no time",
        ),
        pytest.param(["--to", "x", "--as", "csv"], "argument --as: invalid choice", id="form"),
        pytest.param(["--to", "x", "--until", "x"], "--until='x' is no date", id="date"),
        pytest.param(["--to", "x", "--pseudonyms"], "--pseudonyms needs a secret", id="no key"),
    ],
)
def test_a_wrong_call_is_said_so_before_anything_is_opened(scrapy, arguments, complaint):
    outcome = scrapy("export", *arguments, REDIS_URL="redis://127.0.0.1:1", PSEUDONYM_KEY="")

    assert outcome.status == 2
    assert outcome.complaint.startswith(complaint)


def test_a_missing_segment_is_said_so_and_leaves_no_file(scrapy, full, tmp_path):
    for path in (full.folder / "data").rglob("*.zst"):
        path.unlink()

    outcome = scrapy("export", "--to", str(tmp_path / "x.parquet"))

    assert outcome.status == 1
    assert outcome.complaint.endswith("battles: check ARCHIVE_URL")
    assert list(tmp_path.glob("*x.parquet*")) == []


def test_help_names_the_options(scrapy):
    outcome = scrapy("export", "--help")

    assert outcome.status == 0
    assert {"--to", "--as", "--pseudonyms", "--format"} <= set(outcome.output.split())
    assert "Write stored battles as Parquet or JSON Lines" in outcome.output


@pytest.mark.usefixtures("full")
def test_an_export_of_nothing_replaces_nothing(scrapy, tmp_path):
    (tmp_path / "x.jsonl").write_text("an earlier one")

    outcome = scrapy("export", "--to", str(tmp_path / "x.jsonl"), "--force", "--format", "gen9uo")

    assert (outcome.status, outcome.output) == (1, "")
    assert outcome.complaint == "no battle of format 'gen9uo': did you mean 'gen9ou'?"
    assert (tmp_path / "x.jsonl").read_text() == "an earlier one"


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("name", ["x.parquet", "x.jsonl", "folder"])
def test_an_export_in_which_a_name_is_left_is_not_published(scrapy, tmp_path, monkeypatch, name):
    monkeypatch.setattr("battles.pseudonyms.Pseudonyms.replace_in", lambda _self, battle: battle)

    outcome = scrapy("export", "--to", str(tmp_path / name), "--pseudonyms", PSEUDONYM_KEY="key")

    assert (outcome.status, outcome.output) == (1, "")
    assert outcome.complaint.endswith("; nothing is exported")
    assert re.fullmatch(r"[a-z0-9-]+: the name '.+' is left in .+", outcome.complaint)
    assert [path for path in tmp_path.iterdir() if name in path.name] == []


def test_what_reads_like_a_name_is_counted_in_a_warning(scrapy, archive, battles, tmp_path):
    battle = next(battle for battle in battles if battle.players[0].team)
    player = replace(battle.players[0], name=battle.players[0].team[0])
    archive.keep([replace(battle, players=[player, *battle.players[1:]])])
    target = tmp_path / "x.jsonl"

    outcome = scrapy("export", "--json", "--to", str(target), "--pseudonyms", PSEUDONYM_KEY="a key")

    assert outcome.status == 0
    assert "read like a player's name; they are left" in outcome.errors
    assert json.loads(outcome.output) == {"battles": 1, "to": str(target)}
