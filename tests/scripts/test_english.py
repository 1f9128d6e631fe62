"""The check of English finds the phrases of its list, and nothing else."""

import pytest

from scripts import english

REJECTED = {
    "An artefact is a folder.": "artefact",
    "The value is no list.": "is no list",
    "A tensor of that name is none.": "is none",
    "There is none of that name.": "is none",
    "The pods are of none of the models.": "of none",
    "Whoever calls it waits.": "Whoever",
    "Who calls it is answered a traceback.": "Who calls",
    "It ends. What cannot travel is refused.": "What cannot",
    "The line is told in the summary.": "is told",
    "The name of the told, and its line.": "the told",
    "A pod that has its volume be removed.": "has its volume be removed",
    "Remove the lock to have it resolved.": "have it resolved",
    "If it differs, the server is to be replaced.": "is to be",
    "It waits a second at the most.": "at the most",
    "It needs one at least.": "one at least",
    "With the version if need be.": "need be",
    "The port cannot be had.": "be had",
    "A child that is called no more.": "called no more",
    "All files but for tests.": "All files but for",
    "It is saved anew.": "anew",
    "The names thereof.": "thereof",
    "It is in the artifact's manifest.": "artifact's manifest",
}
PLAIN = [
    "There is no model of that name.",
    "It is no longer served, and was no larger before.",
    "The author may be anyone who calls it.",
    "What does it cost? Who calls it?",
    "See what it costs.",
    "The client is told to wait, and how long.",
    "The two are told apart by their names.",
    "A caller that has to be patient, and has also to be polite.",
    "At most one at a time.",
    "The manifest names a uri.",
    "If the name is None, it is a list.",
]


def phrases(source: str, *, name: str = "x.py") -> list[str]:
    tests = name.startswith("test_")
    texts = (
        english.markdown(source) if name.endswith(".md") else english.python(source, tests=tests)
    )
    return [finding.phrase for finding in english.check(source, texts)]


@pytest.mark.parametrize(("sentence", "phrase"), REJECTED.items())
def test_a_phrase_of_the_list_is_found_in_a_docstring(sentence: str, phrase: str) -> None:
    assert phrases(f'"""{sentence}"""') == [phrase]


@pytest.mark.parametrize("sentence", PLAIN)
def test_plain_english_passes(sentence: str) -> None:
    assert phrases(f'"""{sentence}"""') == []


def test_every_rule_has_an_example() -> None:
    unproven = [
        rule.phrase
        for rule, (pattern, _) in zip(english.RULES, english._RULES, strict=True)
        if not any(pattern.search(sentence) for sentence in REJECTED)
    ]
    assert unproven == []


@pytest.mark.parametrize(
    "code",
    [
        "def f():\n    '''Return one.\n\n    It is no\n    list.\n    '''",
        "# It is no\n# list.",
        'raise ValueError(f"{x} "\n"is no list")',
        'log.error("it is no list: %s", x)',
    ],
)
def test_docstrings_comments_and_messages_are_read_across_lines(code: str) -> None:
    assert phrases(code) == ["is no list"]


def test_findings_stand_on_the_line_where_the_phrase_begins() -> None:
    source = "x = 1\n# One.\n# It is no\n# list."
    assert [finding.line for finding in english.check(source, english.python(source))] == [3]


def test_names_of_tests_are_read_and_strings_of_tests_are_not() -> None:
    source = 'def test_what_is_no_list_is_refused():\n    assert text == "it is no list"'
    assert phrases(source, name="test_x.py") == ["is no list", "what is"]


def test_code_and_regular_expressions_are_not_read() -> None:
    assert phrases('"""Say `is no list`."""') == []
    assert phrases('re.compile("it is no list")') == []
    assert phrases("```\nit is no list\n```\n", name="x.md") == []


def test_markdown_is_read_by_paragraphs_and_items() -> None:
    assert phrases("It is no\nlist.\n\n- is no\n- item\n\n# What it costs\n", name="x.md") == [
        "is no list"
    ]


@pytest.mark.parametrize(
    "code",
    [
        "# It is no list.  english: allow",
        'f("it is no list")  # english: allow',
        'f(\n    "it is "\n    "no list"  # english: allow\n)',
        '"""It is no list.\n\nMore.\n"""  # english: allow',
    ],
)
def test_a_comment_accepts_a_text(code: str) -> None:
    assert phrases(code) == []


def test_the_check_prints_the_alternative(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    monkeypatch.setattr(english, "ROOT", tmp_path)
    monkeypatch.setattr(english, "_files", lambda paths: ["x.py"])
    (tmp_path / "x.py").write_text("# It is no list.\n")
    assert english.main([]) == 1
    assert capsys.readouterr().out == "x.py:1: 'is no list' -> is not a ...\n"
    (tmp_path / "x.py").write_text("# It is not a list.\n")
    assert english.main([]) == 0
