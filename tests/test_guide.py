"""The guide for lecturers: plans that add up and name what there is; pages for teachers alone; projects that run."""

from __future__ import annotations

import datetime
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from sites import ROOT

from diffnotes.press import exercises
from diffnotes.press.layout import INSTRUCTOR, Project
from diffnotes.press.lessons.questions import chapter
from diffnotes.press.page import read
from diffnotes.press.quoting import collected
from diffnotes.press.site import assemble, choose
from diffnotes.press.teach.grading import POINTS, exercises_of

BOOK = Project(ROOT)
GUIDE = (ROOT / "book/teaching/guide.md").read_text(encoding="utf-8")
PROJECTS = (ROOT / "book/teaching/projects.md").read_text(encoding="utf-8")
ANSWERS = (ROOT / INSTRUCTOR / "answers.md").read_text(encoding="utf-8")
TASKS = {name: {one.number: one for one in tasks} for name, tasks in exercises_of(BOOK).items()}
DECKS = ROOT / "book/slides"
NUMBERS = re.compile(r"[Ee]xercises? ([\d, and]+)")
RANGE = re.compile(r"\*([^*]+)\*(?: to (before )?\*([^*]+)\*)?")


class Plan(NamedTuple):
    """A table of minutes, with the labels of the sections of the guide that it stands in."""

    place: str
    head: list[str]
    rows: list[dict[str, str]]
    total: int


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


@cache
def plans() -> list[Plan]:
    found = []
    for match in re.finditer(r"^\| Minutes \|.*\n\|[-|]+\n((?:\|.*\n)+)", GUIDE, re.M):
        head, *rows = match[0].splitlines()
        place = re.findall(r"^\(guide-(\w+)\)=$", GUIDE[: match.start()], re.M)[-1]
        *named, last = [dict(zip(cells(head), cells(row))) for row in rows[1:]]
        found.append(Plan(place, cells(head), named, int(last["Minutes"].strip("*"))))
    return found


def of_place(place: str) -> list[Plan]:
    return [one for one in plans() if one.place == place]


def chapter_of(plan: Plan, row: dict[str, str]) -> str:
    return row.get("Chapter") or plan.place


def numbers(text: str) -> list[int]:
    return [int(word) for found in NUMBERS.findall(text) for word in re.findall(r"\d+", found)]


def table_after(text: str, head: str) -> list[list[str]]:
    """The rows of each table whose head begins so, without heads and rules."""
    found = re.findall(rf"^\| {head}.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.M)
    return [cells(row) for part in found for row in part.splitlines()]


# --- the plans ----------------------------------------------------------------------------------------------------


def test_there_is_a_plan_for_each_format_and_chapter() -> None:
    assert [one.total for one in of_place("five")] == [90] * 5
    assert [one.total for one in of_place("day")] == [450]
    for name in BOOK.chapters():
        assert [one.total for one in of_place(name)] == [180], name
    assert len(plans()) == 6 + len(BOOK.chapters())


@pytest.mark.parametrize("plan", plans(), ids=lambda plan: plan.place)
def test_the_minutes_add_up(plan: Plan) -> None:
    assert sum(int(row["Minutes"]) for row in plan.rows) == plan.total
    assert all(row["What"] for row in plan.rows)


def test_the_clock_of_the_workshop_is_right() -> None:
    (plan,) = of_place("day")
    clock = datetime.datetime(2000, 1, 1, 9)
    for row in plan.rows:
        assert row["From"] == f"{clock.hour}:{clock.minute:02d}"
        clock += datetime.timedelta(minutes=int(row["Minutes"]))
        if found := re.match(r"Session (\d), (\w+)", row["What"]):
            session = of_place("five")[int(found[1]) - 1]
            assert int(row["Minutes"]) == session.total and session.rows[0]["Chapter"] == found[2]
    assert f"| **{plan.total}** | {clock.hour}:{clock.minute:02d} |" in GUIDE
    rest = [row for row in of_place("five")[4].rows if row["Chapter"] == "gradients"]
    assert sum(int(row["Minutes"]) for row in rest) == 45 and rest[0]["What"].startswith("*Is a large score error")


@pytest.mark.parametrize("plan", plans(), ids=lambda plan: plan.place)
def test_exercises_exist_and_take_the_minutes_of_their_row(plan: Plan) -> None:
    for row in plan.rows:
        if asked := numbers(row["What"]):
            known = TASKS[chapter_of(plan, row)]
            assert int(row["Minutes"]) == sum(known[k].minutes for k in asked), row
            assert row["Form"] in ("alone", "groups"), row


@pytest.mark.parametrize("name", BOOK.chapters())
def test_each_exercise_of_a_chapter_has_one_place(name: str) -> None:
    (plan,) = of_place(name)
    text = part(name)
    here = [k for row in plan.rows for k in numbers(row["What"])]
    home = numbers(re.search(r"^Homework: .*$", text, re.M)[0])
    assert sorted(here + home) == [*TASKS[name]]


def part(name: str) -> str:
    """The guide's section on a chapter."""
    return GUIDE.split(f"(guide-{name})=")[1].split("\n(guide-")[0]


@pytest.mark.parametrize("name", BOOK.chapters())
def test_a_chapter_has_misconceptions_of_its_exercises_and_questions_with_answers(name: str) -> None:
    rows = table_after(part(name), "What students think")
    assert 3 <= len(rows) <= 5
    for *_, given in rows:
        assert {int(k) for k in given.split(", ")} <= set(TASKS[name])
    asked = re.findall(r"^(\d)\. ", part(name), re.M)
    title = re.search(r"^### (.+)$", part(name), re.M)[1]
    answered = re.findall(r"^(\d)\. ", ANSWERS.split(f"### {title}\n")[1].split("\n#")[0], re.M)
    assert asked == answered == ["1", "2", "3"]


def test_sections_that_are_named_exist() -> None:
    known = {label for name in BOOK.chapters() for label in chapter(read(BOOK.source(name))).sections}
    for text in (GUIDE, PROJECTS, ANSWERS):
        named = set(re.findall(r"\{ref\}`(?:[^`<]*<)?(sec-[\w-]+)>?`", text))
        assert named and named <= known, named - known


def slides(name: str) -> list[tuple[str, int]]:
    """(heading, minutes) of each slide of a deck."""
    text = (DECKS / f"{name}.md").read_text(encoding="utf-8")
    parts = re.split(r"^---$", text, flags=re.M)
    found = [re.search(r"^## ([^\n]+)$.*?^Note: (\d+) min", one, re.M | re.S) for one in parts]
    return [(one[1], int(one[2])) for one in found if one]


@pytest.mark.skipif(not DECKS.is_dir(), reason="there are no slides in this tree")
@pytest.mark.parametrize("plan", plans(), ids=lambda plan: plan.place)
def test_slides_exist_and_take_the_minutes_of_their_row(plan: Plan) -> None:
    for row in plan.rows:
        ranges = RANGE.findall(row["What"])
        if not ranges or plan.place == "day":
            continue
        deck = slides(chapter_of(plan, row))
        heads = [head for head, _ in deck]
        shown = set()
        for first, before, last in ranges:
            assert {first, last or first} <= set(heads), (row, set(heads))
            end = heads.index(last or first) + (not before)
            shown |= set(range(heads.index(first), end))
        assert abs(sum(deck[k][1] for k in shown) - int(row["Minutes"])) <= 2, row


@pytest.mark.skipif(not DECKS.is_dir(), reason="there are no slides in this tree")
@pytest.mark.parametrize("name", BOOK.chapters())
def test_a_lesson_shows_each_slide_of_its_deck(name: str) -> None:
    (plan,) = of_place(name)
    teaching = sum(int(row["Minutes"]) for row in plan.rows if row["Kind"] == "teaching")
    assert teaching == sum(minutes for _, minutes in slides(name)) == 90


# --- for teachers alone -------------------------------------------------------------------------------------------


def test_the_scheme_has_the_points_that_the_grader_gives() -> None:
    *rows, last = table_after(ANSWERS, "Chapter")
    for name, *given in rows:
        levels = [one.level for one in TASKS[name].values()]
        assert given == [str(levels.count(level)) for level in POINTS] + [str(sum(POINTS[one] for one in levels))]
    assert [row[0] for row in rows] == BOOK.chapters()
    sums = [sum(int(row[k]) for row in rows) for k in range(1, 5)]
    assert [int(cell.strip("*")) for cell in last[1:]] == sums


def hidden() -> list[str]:
    """Lines of the pages for teachers that are long enough to be told from other text."""
    lines = {line.strip() for path in (ROOT / INSTRUCTOR).glob("*.md") for line in path.read_text().splitlines()}
    return sorted(line for line in lines if len(line) > 40 and not line.startswith("#"))  # titles are public


def bare(text: str) -> str:
    return re.sub(r"\W+", "", text)


def test_no_tree_of_a_build_has_the_pages_for_teachers(tmp_path: Path) -> None:
    source = tmp_path / "source"
    assemble(BOOK, choose(BOOK, "committed"), source)
    assert (source / "book/teaching/guide.md").is_file() and not (source / INSTRUCTOR).exists()


def test_nothing_of_them_is_in_a_site_even_where_they_lie_in_its_tree(site: Path) -> None:
    lines = {line: bare(line) for line in hidden()}
    assert len(lines) > 150
    for path in site.rglob("*"):
        assert "instructor" not in path.name
        if path.is_file() and path.suffix in (".html", ".js", ".json", ".md", ".txt", ".inv"):
            text = path.read_text(encoding="utf-8", errors="replace")
            plain = bare(text.replace("\\n", " "))
            for line, letters in lines.items():
                assert line not in text and (len(letters) < 25 or letters not in plain), f"{path}: {line}"


# --- the projects -------------------------------------------------------------------------------------------------


def test_projects_begin_at_claims_that_are_not_settled() -> None:
    rows = collected(ROOT)
    parts = re.split(r"^\(project-\w+\)=$", PROJECTS, flags=re.M)[1:]
    assert len(parts) == 2
    for text in parts:
        named = re.findall(r"\{claim\}`(\w+)`", text)
        assert {rows[one]["record"]["state"] for one in named} <= {"open", "mixed"} and named
        *criteria, total = table_after(text, "Criterion")
        assert sum(int(points) for _, points in criteria) == int(total[1].strip("*")) == 25


def test_the_code_of_the_projects_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys) -> None:
    monkeypatch.setenv("DIFFNOTES_NETWORKS", str(tmp_path))
    first, second = re.findall(r"```python\n(.*?)```", PROJECTS, re.S)
    exec(compile(first.replace("Run(6000", "Run(12"), "projects.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == 8
    shorter = second.replace("(1500, 3000)", "(12,)").replace("2000", "50")
    exec(compile(shorter, "projects.md", "exec"), {})
    assert capsys.readouterr().out.startswith("12 Interval(")


def test_exercise_pages_that_are_named_exist() -> None:
    named = set(re.findall(r"/book/exercises/(\w+)", GUIDE))
    assert named and named <= set(exercises.files(BOOK))
