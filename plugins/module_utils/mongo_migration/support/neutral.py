"""Text that isn't ours, made harmless for the place it goes to: one function for each place.

Names of collections, values of fields, run documents, tickets, answers over HTTP and any client's
appName are anybody's text. Each is neutralized at the last moment, where it is shown, so that what
is stored and compared stays exact. Nothing but the standard library; every function is idempotent
or says that it isn't.
"""

from __future__ import annotations

import html as _html
import json
import re
import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

# Invisible, though Unicode counts them as letters or marks: joiners, fillers, selectors, a blank.
_INVISIBLE = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\U000e0100-\U000e01ef"
# Controls (C0, DEL, C1), formats (bidi, zero width, tags), half surrogates, own line separators.
_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# A cheap first look: most text has none of these. What it finds is judged by its category.
_SUSPECT = re.compile(rf"[^\n\t -~\u00a1-\u00ac\u00ae-\u02ff]|[{_INVISIBLE}]")
_INVISIBLE_ONE = re.compile(f"[{_INVISIBLE}]")
_MENTION = re.compile(r"(?<!\w)@(?=\w)")
_MARKDOWN_LINK = re.compile(r"\](?=\()")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#~|!])")
# What `-e name=value` takes as it is: no quotes, no white space, and nothing of Jinja.
_PLAIN_VALUE = re.compile(r"[\w./:@+,=-]*", re.ASCII)
_LONGEST_HEADER = 200


def terminal(text: Any) -> str:
    """Return *text* for a terminal or a log of one: line breaks and tabs stay, all else is seen."""
    whole = text if isinstance(text, str) else str(text)
    return _SUSPECT.sub(_seen, whole.replace("\r\n", "\n"))


def line(value: Any) -> str:
    """Return *value* as a part of one line: a line break in it is written as ``\\n``."""
    return terminal(value).replace("\n", "\\n").replace("\t", "\\t")


def html(text: Any) -> str:
    """Return *text* for HTML, also for an attribute in quotes; not idempotent."""
    return _html.escape(terminal(text))


def markdown(value: Any) -> str:
    """Return *value* as a span of code, where Markdown knows no markup; not idempotent."""
    text = line(value).strip().replace("|", "\\|")
    if not text:
        return ""
    fence = "`" * (_longest_run(text) + 1)
    space = " " if "`" in (text[0], text[-1]) else ""
    return f"{fence}{space}{text}{space}{fence}"


def markdown_block(text: Any) -> str:
    """Return *text* as a block of code; not idempotent."""
    shown = terminal(text).rstrip()
    fence = "`" * max(3, _longest_run(shown) + 1)
    return f"{fence}\n{shown}\n{fence}"


def slack(text: Any) -> str:
    """Return *text* for Slack, and for what takes Slack's messages; not idempotent.

    The three signs are escaped as Slack wants it, so that ``<!channel>`` and ``<url|name>`` are
    text. Mattermost also reads ``@channel`` and ``[name](url)``: both are broken by a space.
    """
    return _html.escape(_without_mentions(text), quote=False)


def teams(text: Any) -> str:
    """Return *text* for a card of Teams, which reads Markdown and some HTML; not idempotent."""
    escaped = _MARKDOWN.sub(r"\\\1", _without_mentions(text))
    return _html.escape(escaped, quote=False).replace("\n", "\n\n")


def mail_header(value: Any) -> str:
    """Return *value* for a header of a mail: one line, and no longer than people read."""
    text = " ".join(line(" ".join(str(value).split())).split())
    return text if len(text) <= _LONGEST_HEADER else f"{text[: _LONGEST_HEADER - 1]}…"


def label(value: Any) -> str:
    """Return *value* for a label of a metric; quotes and backslashes are the format's business."""
    return line(value)


def json_text(text: str) -> str:
    r"""Return JSON *text* that is harmless on a terminal and means the same: ``\u009b``."""
    return _SUSPECT.sub(_escaped, text)


def shell(word: Any) -> str:
    """Return *word* as one word of a command to paste; not idempotent."""
    return shlex.quote(str(word))


def listed(names: Sequence[str], *, most: int) -> str:
    """Return the first *most* of *names* on one line, and how many more there are."""
    shown = ", ".join(line(name)[:80] for name in names[:most])
    more = len(names) - most
    return f"{shown} and {more:,} more" if more > 0 else shown


def extra_variable(name: str, value: Any) -> str:
    """Return the argument of ``-e`` that sets *name* to exactly *value*, for a command to paste.

    Ansible splits ``name=value`` at white space and evaluates templates in it. A value with
    anything but plain characters is therefore written as YAML that is marked as no template.
    """
    text = str(value)
    if _PLAIN_VALUE.fullmatch(text):
        return f"{name}={text}"
    # Written as ASCII: what is pasted doesn't depend on what a terminal makes of other characters.
    quoted = re.sub(r'[^ -~]|["\\]', lambda match: _unicode(ord(match[0])), text)
    return shlex.quote(f'{{{name}: !unsafe "{quoted}"}}')


# By the names that templates use; see plugins/filter/neutral.py.
FILTERS: Mapping[str, Any] = {
    "neutral_line": line,
    "neutral_markdown": markdown,
    "neutral_markdown_block": markdown_block,
    "neutral_slack": slack,
    "neutral_teams": teams,
}


def _seen(match: re.Match[str]) -> str:
    character = match[0]
    if unicodedata.category(character) in _CATEGORIES or _INVISIBLE_ONE.match(character):
        code = ord(character)
        return f"\\x{code:02x}" if code < 0x100 else _unicode(code)
    return character


def _unicode(code: int) -> str:
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _escaped(match: re.Match[str]) -> str:
    return (
        match[0]
        if _seen(match) == match[0]
        else json.dumps(match[0])[1:-1].replace("\x7f", "\\u007f")
    )


def _without_mentions(text: Any) -> str:
    return _MARKDOWN_LINK.sub("] ", _MENTION.sub("@ ", terminal(text)))


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)
