"""Which Pokémon there are, and what is known of them."""

from __future__ import annotations

import tracemalloc

import pytest

from battles.items import Pokemon
from battles.parsers.log import parse_log


def team_of(*lines: str) -> list[Pokemon]:
    return parse_log("\n".join(["|player|p1|A", *lines])).players["p1"].pokemon


def species_of(*lines: str) -> list[str]:
    return parse_log("\n".join(["|player|p1|A", *lines])).players["p1"].team


@pytest.mark.parametrize(
    ("hidden", "seen", "species"),
    [
        ("Urshifu-*, M", "Urshifu-Rapid-Strike, M", "Urshifu-Rapid-Strike"),
        ("Urshifu-*, M", "Urshifu-Rapid-Strike-Gmax, M", "Urshifu-Rapid-Strike"),
        ("Zacian-*", "Zacian-Crowned", "Zacian-Crowned"),
        ("Greninja-*, M", "Greninja, M, shiny", "Greninja"),
        ("Greninja-*, M", "Greninja-Ash, M", "Greninja"),
        ("Dudunsparce-*, F", "Dudunsparce-Three-Segment, F", "Dudunsparce-Three-Segment"),
        ("Ogerpon-Wellspring, F", "Ogerpon-Wellspring-Tera, F", "Ogerpon-Wellspring"),
    ],
)
def test_the_forme_first_seen_replaces_what_the_preview_hid(hidden, seen, species):
    lines = [f"|poke|p1|{hidden}|", "|poke|p1|Gible|", "|start", f"|switch|p1a: X|{seen}|1/1"]

    assert species_of(*lines) == [species, "Gible"]


def test_a_forme_that_was_never_seen_stays_hidden():
    assert species_of("|poke|p1|Urshifu-*|", "|start") == ["Urshifu-*"]


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(
            ["|switch|p1a: X|Gible|1/1", "|switch|p1a: X|Gible|1/1"], id="one for another"
        ),
        pytest.param(["|switch|p1a: X|Gible|1/1", "|switch|p1b: X|Gible|1/1"], id="side by side"),
        pytest.param(
            ["|switch|p1a: X|Gible|1/1", "|faint|p1a: X", "|switch|p1b: X|Gible|1/1"], id="fainted"
        ),
    ],
)
def test_two_that_look_alike_are_two(lines):
    assert species_of(*lines) == ["Gible", "Gible"]


def test_two_formes_under_one_nickname_are_two():
    lines = ["|switch|p1a: X|Rotom-Wash|1/1", "|switch|p1a: X|Rotom-Heat|1/1"]

    assert species_of(*lines) == ["Rotom-Wash", "Rotom-Heat"]


def test_one_that_becomes_another_species_is_one():
    out = ["|switch|p1a: X|Quagsire|1/1", "|detailschange|p1a: X|Clodsire"]
    back = ["|switch|p1a: Y|Moth|1/1", "|switch|p1a: X|Clodsire, tera:Ice|1/1"]

    assert species_of(*out, *back) == ["Quagsire", "Moth"]


def test_a_preview_counts_before_the_start_only():
    lines = ["|switch|p1a: X|Gible|1/1", "|poke|p1|Moth|"]

    assert species_of("|start", *lines) == ["Gible"]


def test_a_second_preview_replaces_the_first():
    lines = ["|clearpoke", "|poke|p1|Gible|", "|clearpoke", "|poke|p1|Moth|", "|start"]

    assert species_of(*lines) == ["Moth"]


def test_what_was_done_in_the_guise_of_another_is_its_own():
    guise = ["|switch|p1a: X|Gible|1/1", "|move|p1a: X|Night Daze|p2a: Y"]

    seen, own = team_of("|start", *guise, "|replace|p1a: Z|Zoroark, M")

    assert (seen.species, seen.brought, seen.lead, seen.moves) == ("Gible", False, False, [])
    assert (own.species, own.brought, own.lead, own.moves) == (
        "Zoroark",
        True,
        True,
        ["Night Daze"],
    )


def test_what_the_battle_shows_of_a_pokemon():
    lines = ["|poke|p1|Gible, L50, M|", "|poke|p1|Moth|", "|start"]
    lines += ["|switch|p1a: Bites|Gible, L50, M, shiny|1/1", "|-terastallize|p1a: Bites|Fire"]
    lines += ["|move|p1a: Bites|Bite|p2a: Y", "|move|p1a: Bites|Surf|p2a: Y|[from] move: Copycat"]
    lines += ["|-damage|p1a: Bites|9/10|[from] item: Life Orb"]
    lines += ["|-damage|p2a: Y|9/10|[from] ability: Rough Skin|[of] p1a: Bites"]

    first, second = team_of(*lines)

    assert first == Pokemon(
        "Gible",
        nickname="Bites",
        level=50,
        gender="M",
        shiny=True,
        lead=True,
        brought=True,
        tera="Fire",
        item="Life Orb",
        ability="Rough Skin",
        moves=["Bite"],
    )
    assert second == Pokemon("Moth")


@pytest.mark.parametrize(
    ("line", "item"),
    [
        ("|-heal|p1a: X|1/1|[from] item: Leftovers", "Leftovers"),
        ("|-enditem|p1a: X|Choice Band|[from] move: Knock Off|[of] p2a: Y", "Choice Band"),
        ("|-damage|p2a: Y|1/1|[from] item: Rocky Helmet|[of] p1a: X", "Rocky Helmet"),
        ("|-item|p1a: X|Air Balloon", "Air Balloon"),
        ("|-item|p1a: X|Choice Scarf|[from] ability: Frisk|[of] p2a: Y", "Choice Scarf"),
        ("|-item|p1a: X|Choice Scarf|[from] move: Trick", None),
        ("|-heal|p1a: X|1/1|[from] move: Wish|[wisher] Y|[from] item: Leftovers", None),
        ("|-weather|[from] item: Damp Rock|[of] p1a: X", None),
        ("|-mega|p1a: X|Latios|Latiosite", "Latiosite"),
        ("|-primal|p1a: X|Red Orb", "Red Orb"),
    ],
)
def test_the_first_item_that_is_its_own_is_kept(line, item):
    [pokemon] = team_of("|switch|p1a: X|Latios|1/1", "|switch|p2a: Y|Moth|1/1", line)

    assert pokemon.item == item


def test_an_item_that_it_got_from_another_is_not_its_own():
    lines = ["|switch|p1a: X|Latios|1/1", "|-item|p1a: X|Choice Scarf|[from] move: Trick"]

    [pokemon] = team_of(*lines, "|-enditem|p1a: X|Choice Scarf|[from] move: Knock Off")

    assert pokemon.item is None


@pytest.mark.parametrize(
    ("line", "ability"),
    [
        ("|-ability|p1a: X|Intimidate|boost", "Intimidate"),
        ("|-ability|p1a: X|Levitate|[from] ability: Trace|[of] p2a: Y", "Trace"),
        ("|-ability|p2a: Y|Levitate|[from] ability: Trace|[of] p1a: X", "Levitate"),
        ("|-ability|p1a: X|Levitate|[from] move: Skill Swap", None),
        ("|-weather|Sandstorm|[from] ability: Sand Stream|[of] p1a: X", "Sand Stream"),
        ("|-heal|p1a: X|1/1|[from] ability: Water Absorb|[of] p2a: Y", "Water Absorb"),
        ("|-heal|p2a: Y|1/1|[from] ability: Hospitality|[of] p1a: X", "Hospitality"),
        ("|-activate|p1a: X|ability: Sturdy", "Sturdy"),
        ("|-immune|p1a: X|[from] ability: Levitate", "Levitate"),
    ],
)
def test_the_first_ability_that_is_its_own_is_kept(line, ability):
    [pokemon] = team_of("|switch|p1a: X|Latios|1/1", "|switch|p2a: Y|Moth|1/1", line)

    assert pokemon.ability == ability


@pytest.mark.parametrize(
    ("line", "moves"),
    [
        ("|move|p1a: X|Surf|p2a: Y|[from] move: Sleep Talk", ["Surf"]),
        ("|move|p1a: X|Z-Nasty Plot|p1a: X|[anim]Nasty Plot", ["Nasty Plot"]),
        ("|move|p1a: X|Hydro Vortex|p2a: Y|[zeffect]", []),
        ("|move|p1a: X|Max Geyser|p2a: Y", []),
        ("|move|p1a: X|Struggle|p2a: Y", []),
        ("|move|p1b: X|Surf|p2a: Y", []),
    ],
)
def test_moves_are_those_that_are_its_own(line, moves):
    [pokemon] = team_of("|switch|p1a: X|Latios|1/1", line, line)

    assert pokemon.moves == moves


def test_one_that_is_transformed_does_what_others_can():
    lines = ["|switch|p1a: X|Ditto|1/1", "|-transform|p1a: X|p2a: Y|[from] ability: Imposter"]

    [pokemon] = team_of(*lines, "|move|p1a: X|Surf|p2a: Y")

    assert (pokemon.ability, pokemon.moves) == ("Imposter", [])


def test_places_may_be_swapped():
    out = ["|switch|p1a: X|Gible|1/1", "|switch|p1b: Y|Moth|1/1", "|swap|p1a: X|1|"]

    first, second = team_of(*out, "|move|p1b: X|Bite|p2a: Z")

    assert (first.moves, second.moves) == (["Bite"], [])


def test_an_open_team_sheet_is_read_in_full(parsed):
    sheets = [p.sheet for _, b in parsed["gen9championsvgc2026regmbbo3"] for p in b.players]

    assert {len(sheet) for sheet in sheets} == {6}
    pelipper = next(one for sheet in sheets for one in sheet if one.species == "Pelipper")
    assert (pelipper.item, pelipper.ability, pelipper.level) == ("ChoiceScarf", "Drizzle", 50)
    assert pelipper.moves == ["hurricane", "uturn", "hydropump", "weatherball"]


def test_a_sheet_holds_all_that_was_packed():
    packed = (
        "Bites|Gible|LifeOrb|RoughSkin|bite,surf|Jolly|4,,252,,,252|M|,0,,,,|S|50|,Fire,,G,,Ice"
    )

    [sheet] = parse_log(f"|player|p1|A\n|showteam|p1|{packed}").players["p1"].sheet

    assert (sheet.nickname, sheet.species, sheet.nature, sheet.shiny) == (
        "Bites",
        "Gible",
        "Jolly",
        True,
    )
    assert (sheet.evs, sheet.ivs[:2]) == ([4, None, 252, None, None, 252], [None, 0])
    assert (sheet.hidden_power, sheet.gigantamax, sheet.tera) == ("Fire", True, "Ice")


def test_what_open_sheets_say_agrees_with_what_the_battle_shows(parsed):
    players = [p for _, b in parsed["gen9championsvgc2026regmbbo3"] for p in b.players]
    moves = [
        _packed(move) in sheets[pokemon.species].moves
        for sheets, player in (({s.species: s for s in p.sheet}, p) for p in players)
        for pokemon in player.pokemon
        if pokemon.species in sheets
        for move in pokemon.moves
    ]

    assert len(moves) > 1000
    # A few were used by a Zoroark that fainted in the guise of another.
    assert moves.count(False) < len(moves) / 500


def _packed(move: str) -> str:
    return "".join(letter for letter in move.lower() if letter.isalnum())


@pytest.mark.parametrize(
    "line",
    [
        "|player|p1|" + "|" * 2_000_000,
        "|showteam|p1|" + "]" * 2_000_000,
        "|showteam|p1|A||||" + "," * 2_000_000,
        "|switch|p1a: X|" + ", " * 1_000_000,
        "|move|p1a: X" + "|" * 2_000_000,
        "\n|c" * 1_000_000,
    ],
    ids=["player", "sets", "moves", "details", "move", "lines"],
)
def test_a_line_costs_no_more_than_some_copies_of_it(line):
    tracemalloc.start()
    try:
        parse_log(line)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 20_000_000


@pytest.mark.parametrize(
    "lines",
    [
        [f"|switch|p1a: {n}|Moth{n}|1/1" for n in range(20_000)],
        [f"|switch|p1{chr(n + 300)}: X|Moth|1/1" for n in range(20_000)],
        [f"|poke|p1|Moth{n}|" for n in range(20_000)],
        ["|switch|p1a: X|A|", *(f"|detailschange|p1a: X|Moth{n}" for n in range(20_000))],
        ["|switch|p1a: X|A|", *(f"|move|p1a: X|Move{n}|" for n in range(20_000))],
        ["|start", *(f"|player|p1|A{n}|" for n in range(20_000))],
    ],
    ids=["switches", "places", "previews", "changes", "moves", "names"],
)
def test_facts_stay_few_however_long_the_log(lines):
    facts = parse_log("\n".join(["|player|p1|A|", *lines]))

    player = facts.players["p1"]
    assert len(player.pokemon) <= 24
    assert all(len(pokemon.moves) <= 24 for pokemon in player.pokemon)
    assert len(player.other_names) <= 50
