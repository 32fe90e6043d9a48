"""Text that isn't ours, for each place it goes to."""

import json
import shlex
import unicodedata

import pytest
from ansible.parsing.dataloader import DataLoader
from mongo_migration.support import neutral

from tests.support import hostile

# Every character that a terminal obeys or that nobody sees, among those that a text may hold.
BAD = [
    chr(code)
    for code in [*range(0x300), *range(0x2000, 0x2100), 0x180E, 0xFEFF, 0xE0041, 0xD800, 0x3164]
    if unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs", "Zl", "Zp") or code == 0x3164
]


@pytest.mark.parametrize("character", BAD, ids=lambda character: f"U+{ord(character):04X}")
def test_no_character_that_a_terminal_obeys_or_hides_gets_there(character):
    shown = neutral.terminal(f"a{character}b")

    if character in "\n\t":
        assert shown == f"a{character}b"
    else:
        assert character not in shown
        assert shown.isprintable()
    assert neutral.terminal(shown) == shown
    assert neutral.line(f"a{character}b").isprintable()


def test_what_people_write_stays_as_it_is():
    text = "Währung € 日本語 “quoted” … ✓ 🙂 naïve\tcolumn\nnext line\\n"

    assert neutral.terminal(text) == text


def test_a_name_with_a_line_break_makes_no_second_line():
    assert neutral.line("x\r\ny\tz") == "x\\ny\\tz"


def test_markdown_obeys_nothing_in_a_span_or_block():
    span = neutral.markdown("a`` | b\n# c")
    block = neutral.markdown_block("x\n````\n<script>")

    assert span == "```a`` \\| b\\n# c```"
    assert block == "`````\nx\n````\n<script>\n`````"
    assert neutral.markdown(" ") == ""
    assert neutral.markdown("`x`") == "`` `x` ``"


def test_slack_obeys_neither_its_markup_nor_a_mention():
    shown = neutral.slack("<!channel> <http://evil|ok> & @here [a](http://b) anna@example.com")

    assert shown == (
        "&lt;!channel&gt; &lt;http://evil|ok&gt; &amp; @ here [a] (http://b) anna@example.com"
    )


def test_teams_obeys_neither_markdown_nor_html():
    assert neutral.teams("[a](http://b) <b>*x*\ny") == (
        "\\[a\\] \\(http://b\\) &lt;b&gt;\\*x\\*\n\ny"
    )


def test_of_very_many_names_the_first_are_shown_and_the_others_counted():
    names = [f"tenant_{number:04}" for number in range(2000)]
    assert neutral.listed(names, most=2) == "tenant_0000, tenant_0001 and 1,998 more"
    assert neutral.listed(names[:2], most=2) == "tenant_0000, tenant_0001"
    assert neutral.listed(["a\x1b[2J", "b"], most=5) == "a\\x1b[2J, b"


def test_html_obeys_nothing():
    assert neutral.html("<a href=\"x\" t='y'>\x1b&") == (
        "&lt;a href=&quot;x&quot; t=&#x27;y&#x27;&gt;\\x1b&amp;"
    )


def test_a_header_of_a_mail_is_one_line_of_bounded_length():
    shown = neutral.mail_header(f"Migration\r\nBcc: x@example.com \u2028{'y' * 1000}")

    assert shown.startswith("Migration Bcc: x@example.com")
    assert len(shown) == 200
    assert shown.isprintable()


def test_json_for_a_terminal_means_the_same():
    text = json.dumps({"name": hostile.EVERYTHING, "ü": "🙂"}, ensure_ascii=False)

    shown = neutral.json_text(text)

    assert json.loads(shown) == {"name": hostile.EVERYTHING, "ü": "🙂"}
    assert not hostile.harm(shown)
    assert "ü" in shown


@pytest.mark.parametrize(
    "value",
    [
        "/backups/backup-20261123-020533.tar.gz",
        "/backups/with space; rm -rf ~",
        "/backups/$(reboot)`id`'\"!",
        "/backups/{{ lookup('pipe', 'id') }}",
        "emoji 🙂 and \u202e and \x1b[2J",
        hostile.EVERYTHING,
        "",
    ],
)
def test_a_pasted_extra_variable_has_exactly_its_value_and_is_no_template(value):
    from ansible._internal._datatag._tags import TrustedAsTemplate
    from ansible.parsing.splitter import parse_kv

    pasted = shlex.split(f"-e {neutral.extra_variable('archive', value)}")

    assert len(pasted) == 2
    if pasted[1].startswith("{"):
        found = DataLoader().load(pasted[1])
        assert not TrustedAsTemplate.is_tagged_on(found["archive"])
    else:
        found = parse_kv(pasted[1])
    assert found == {"archive": value}
    assert neutral.extra_variable("archive", value).isprintable()


def test_a_label_of_a_metric_is_one_line():
    assert neutral.label("a\nb\x1b") == "a\\nb\\x1b"
