"""What the spiders yield."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from battles.items import Battle


@settings(deadline=None)
@given(st.builds(Battle))
def test_a_battle_shows_its_id_and_spares_its_log(battle):
    assert repr(battle) == f"<Battle {battle.id}>"
