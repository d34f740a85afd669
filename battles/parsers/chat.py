"""Take out of a log what people said."""

from __future__ import annotations

import re

_SAID = r"\|(?:c|c:|chat|chat:|chatmsg|chatmsg-raw|pm|error|popup|hidelines|unlink)(?:\|.*)?"
"""What people say to all or to one, and what the server says of that."""

_SOMEBODY = r"[^|\n]{1,64}?"
_TIE = (
    r"(?:is offering a|accepted the|rejected the|have accepted the) tie"
    r"|(?:está ofreciendo un|aceptó el|rechazó el|han aceptado el) empate"
    r"|(?:está oferecendo um|aceitou o|rejeitou o|aceitaram o) empate"
    r"|(?:sta proponendo un|ha accettato il|ha rifiutato il|hanno accettato il) pareggio"
    r"|(?:propose un|a accepté le|a refusé le|ont accepté le) match nul"
    r"|(?:bietet ein|hat das|haben einem) Unentschieden (?:an|angenommen|abgelehnt|zugestimmt)"
    r"|引き分け(?:を提案しています|に同意しました|を拒否しました)"
)
"""The server says this one in the language of the player."""
_NOTICE = (
    rf"{_SOMEBODY}(?:{_TIE})[.。]"
    rf"|{_SOMEBODY} (?:has agreed to|rejected) open team sheets\."
    rf"|{_SOMEBODY} is ready for game \d+\."
    rf"|{_SOMEBODY} forfeited\."
    rf"|{_SOMEBODY} lost [^\n]*inactivity\."
    rf"|{_SOMEBODY} \| Time left: [^\n]*"
    rf"|\[{_SOMEBODY} has \d+s this turn / \d+s total\]"
    r"|Ladder (?:isn't responding|updated|updating|\()[^\n]*"
)
"""Text that says something of the battle; any other text answers somebody's command."""
_ANSWER = rf"(?:\|\|(?=.*\S)|(?=[^|\n]*[^|\s])(?!\|))(?!(?:{_NOTICE})\r?$).*"

_OF_THE_BATTLE = (
    r"[^\n]{1,128}(?:'|&#39;|&apos;)s (?:rating: |Tera (?:Types|Captains):)"
    r"|Ratings not updated|Ladder (?:updated|updating|\()|There was an error calculating rating"
    r"|<span style=\"white-space:nowrap\"><psicon "
    r"|<div class=\"infobox\"><details class=\"readmore\"[^>\n]*><summary><strong>\d+ custom rule"
    r"|<div class=[\"']broadcast-\w+[\"']><(?:b|strong)>(?:"
    r"This (?:battle|best-of set) |Battle Factory Tier|The battle crashed|Need help with all of"
    r"|Wondering what all|[^<\n]* is currently suspecting )"
    r"|<div class=\"message-warning\">[^<\n]*<strong>/editbattle</strong>"
    r"|<table width=\"100%\"><tr><td align=\"left\">[^<\n]*</td><td align=\"right\">"
    r"|<h2>Game \d+</h2>|Game \d+ was a tie\.|[^<\n]{1,64} won game \d+!"
)
"""How HTML begins that the simulator, the ladder or a best-of series writes."""
_SERIES = r"uhtml(?:change)?\|(?:bestof|next|game\d+|invites|otsrequest)\|"
_MARKUP = (
    # With "Data Mod" the simulator shows what changed species are; `!data` looks the same.
    r"(?<!\[silent\]\n)\|raw\|<div class=\"message\"><ul class=\"utilichart\">.*"
    rf"|\|(?:raw|html)\|(?!<div class=\"message\"><ul|{_OF_THE_BATTLE}).*"
    rf"|\|(?!{_SERIES})uhtml(?:change)?(?:\|.*)?"
)

_MAY_BE = r"[^|\n]|\|[|cehpru]"
"""How a line may begin that is any of these; a look at that passes most lines over."""
_CHAT = re.compile(rf"\n(?={_MAY_BE})(?:{_SAID}|{_ANSWER}|{_MARKUP})$", re.MULTILINE)
"""With the line feed before it, since a search for one is much faster than for a line's start."""


def without_chat(log: str) -> str:
    r"""Remove what people said, and what answered their commands.

    Joins, ratings, notices and the battle itself stay.

    >>> without_chat("|turn|1\n|c|☆A|!roll\n||Roll: 5\nA is offering a tie.\n|win|A")
    '|turn|1\nA is offering a tie.\n|win|A'
    """
    return _CHAT.sub("", f"\n{log}")[1:]
