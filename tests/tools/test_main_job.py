"""The main job has one time, which README and quickstart say."""

import re

import pytest

from tools.main_job import PAGES, PHRASE, ROOT, command, load, with_phrase


def test_the_pages_say_what_was_measured() -> None:
    for name in PAGES:
        assert PHRASE.findall((ROOT / name).read_text("utf-8")) == [load().phrase()], name


def test_no_other_page_says_how_long_the_main_job_takes() -> None:
    said = re.compile(r"main job[^.\n]*minutes")
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")):
        if page.relative_to(ROOT).as_posix() not in PAGES:
            assert not said.search(page.read_text("utf-8")), page.name


def test_another_number_replaces_the_first_one_and_a_page_without_one_is_refused() -> None:
    new = load()._replace(seconds=125, cores=4).phrase()
    assert new == "about 2 minutes on 4 CPU cores"
    for name in PAGES:
        assert new in with_phrase((ROOT / name).read_text("utf-8"), new)
    with pytest.raises(ValueError, match="0 times"):
        with_phrase("no time is named", new)


def test_the_command_is_readmes() -> None:
    assert command()[:3] == ["run", "--methods", "all"]
