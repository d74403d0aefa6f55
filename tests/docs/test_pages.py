"""What the pages point at is there: files, headings, commands, options, targets of make."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from streams.cli import main

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CONSOLE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")


def _anchors(page: Path) -> set[str]:
    """The headings of a page as its links name them."""
    headings = re.findall(r"^#+ (.+)$", _BLOCK.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dangling(page: Path) -> list[str]:
    """The links of a page that lead nowhere on this machine."""
    found = []
    for target in re.findall(r"\]\(([^)\s]+)\)", _BLOCK.sub("", page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in _anchors(there)):
            found.append(target)
    return found


def _commands(page: Path) -> Iterator[str]:
    """What a page tells to type: `flexlog …` and `make …`, in blocks and within lines."""
    text = page.read_text()
    for block in _CONSOLE.findall(text):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            yield from re.findall(r"^(?:flexlog|make) .*|(?<=\$\()(?:flexlog|make) [^)]*", line)
    for part in _INLINE.findall(_BLOCK.sub("", text)):
        if part.startswith(("flexlog ", "make ")):
            yield part


def wrong(command: str, targets: set[str]) -> str:
    """What is wrong with a command; empty where it exists with its options."""
    words = shlex.split(command.replace("…", ""), comments=True)
    if words[0] == "make":
        lacking = [word for word in words[1:] if word not in targets and "=" not in word]
        return f"make has no target {lacking[0]}" if lacking else ""
    group: click.Command = main
    rest = words[1:]
    while isinstance(group, click.Group) and rest and not rest[0].startswith("-"):
        found = group.get_command(click.Context(group), rest[0])
        if found is None:
            choices = rest[0].split("|")  # plan|apply
            known = [group.get_command(click.Context(group), each) for each in choices]
            return "" if len(choices) > 1 and all(known) else f"there is no {rest[0]}"
        group, rest = found, rest[1:]
    options = {name for param in group.params for name in (*param.opts, *param.secondary_opts)} | {"--help", "-h"}
    lacking = [word for word in rest if re.match(r"--?[a-z]", word) and word.partition("=")[0] not in options]
    return f"{group.name} has no option {lacking[0]}" if lacking else ""


@pytest.fixture(scope="module")
def targets() -> set[str]:
    """The targets of make."""
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert dangling(page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_exists_with_its_options(page: Path, targets: set[str]) -> None:
    assert {command: fault for command in _commands(page) if (fault := wrong(command, targets))} == {}


def test_what_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# A heading, of two\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](there.md) [b](there.md#a-heading-of-two) [c](gone.md) [d](there.md#none) [e](https://x.org/y)\n"
    )
    assert dangling(page) == ["gone.md", "there.md#none"]


def test_a_command_that_is_not_there_is_found(tmp_path: Path, targets: set[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```console\nflexlog kafka sideways\nmake demo  # a week\n```\nand `flexlog run --every`, `make tea`\n"
    )
    assert [wrong(command, targets) for command in _commands(page)] == [
        "there is no sideways",
        "",
        "run has no option --every",
        "make has no target tea",
    ]
