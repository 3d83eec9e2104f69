"""Every exercise: its solution passes, its blank fails, and each known mistake is told from the others."""

import json
import re

import matplotlib
import nbformat
import pytest
import torch

from diffnotes.exercises import check, exercise
from diffnotes.exercises.checking import Choice, Construction, Function, Value, judge
from diffnotes.exercises.wire import pack, unpack
from diffnotes.model import store
from diffnotes.press.exercises import LEVELS, student, tasks
from diffnotes.press.layout import Project

PROJECT = Project.find()
FOLDER = PROJECT.root / "notebooks" / "exercises"
NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
SOURCES = {name: nbformat.read(FOLDER / f"{name}.ipynb", 4) for name in NAMES}
TASKS = [(name, task) for name in NAMES for task in tasks(SOURCES[name], name)]
EACH = pytest.mark.parametrize("name, task", TASKS, ids=[task.name for _, task in TASKS])


def known(name):
    return __import__(f"diffnotes.exercises.keys.{name}", fromlist=["EXERCISES"]).EXERCISES


@pytest.mark.parametrize("name", NAMES)
def test_the_notebook_and_the_package_have_the_same_exercises(name):
    found = [task.name for task in tasks(SOURCES[name], name)]
    assert found == [f"{name}.{one}" for one in known(name)]
    assert len(found) >= 6
    levels = [task.level for task in tasks(SOURCES[name], name)]
    assert set(levels) == set(LEVELS)


@pytest.mark.parametrize("name", NAMES)
def test_every_objective_of_the_chapter_has_an_exercise(name):
    chapter = json.loads(PROJECT.source(name).read_text())
    cells = ("".join(cell["source"]) for cell in chapter["cells"])
    text = next(cell for cell in cells if "Learning objectives" in cell)
    objectives = {int(number) for number in re.findall(r"^(\d+)\. ", text, re.M)}
    assert {one for task in tasks(SOURCES[name], name) for one in task.objectives} == objectives


def answer_of(mistake, kind):
    return mistake.answer() if isinstance(kind, (Value, Construction)) and callable(mistake.answer) else mistake.answer


@EACH
def test_right_answers_pass_and_each_mistake_is_named(name, task):
    one = exercise(task.name)
    assert judge(one, one.model()).right and judge(one, one.model()).message == one.praise
    assert len(one.mistakes) >= 2
    for mistake in one.mistakes:
        feedback = judge(one, answer_of(mistake, one))
        assert not feedback.right
        assert feedback.message.startswith(mistake.said) if isinstance(one, Construction) else (
            feedback.message == mistake.said)  # fmt: skip
    said = [mistake.said for mistake in one.mistakes]
    assert len(set(said)) == len(said) and all(len(text) > 30 for text in said)


def through_the_pipe(value):
    return unpack(json.loads(json.dumps(pack(value))))


@EACH
def test_right_answers_pass_through_the_pipe_of_the_grader(name, task):
    one = exercise(task.name)
    model = one.model()
    if callable(model):
        answer = lambda *given: through_the_pipe(model(*map(through_the_pipe, given)))  # noqa: E731
    else:
        answer = through_the_pipe(model)
    assert judge(one, answer).right


@EACH
def test_what_is_no_answer_is_told_so(name, task):
    one = exercise(task.name)
    for answer in (..., None):
        assert not judge(one, answer).right and "no answer yet" in judge(one, answer).message
    for answer in ("no", object(), float("nan"), torch.tensor([1.0, float("inf")]), [], lambda *given: "no",
                   lambda *given: 1 / 0, lambda: 1, {}, 10**400):  # fmt: skip
        feedback = judge(one, answer)
        assert not feedback.right and len(feedback.message) > 10
    if isinstance(one, Function):
        assert "no answer" not in judge(one, lambda *given: None).message
        assert "nothing yet" in judge(one, lambda *given: None).message


def executed(notebook, monkeypatch):
    """The names that the cells of a notebook leave, and what they show."""
    matplotlib.use("agg")
    monkeypatch.setattr("matplotlib.pyplot.show", lambda *_, **__: None)
    space, shown = {"__name__": "__main__"}, []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            *statements, last = cell.source.rstrip().split("\n") if cell.source.startswith("check(") else [cell.source]
            exec(compile("\n".join(statements), "cell", "exec"), space)
            if cell.source.startswith("check("):
                shown.append(eval(last, space))
            else:
                exec(compile(last, "cell", "exec"), space)
    matplotlib.pyplot.close("all")
    return space, shown


@pytest.mark.parametrize("name", NAMES)
def test_the_solutions_are_right_and_train_nothing(name, monkeypatch):
    monkeypatch.setattr(store, "_used", {})
    space, _ = executed(SOURCES[name], monkeypatch)
    for task in tasks(SOURCES[name], name):
        feedback = check(task.name, space[task.answer])
        assert feedback.right, f"{task.name}: {feedback}"
    assert {told["source"] for told in store.used()} <= {"own", "published"}


@pytest.mark.parametrize("name", NAMES)
def test_the_students_form_runs_and_every_answer_is_blank(name, monkeypatch):
    handed_out = student(SOURCES[name])
    space, _ = executed(handed_out, monkeypatch)
    for task in tasks(SOURCES[name], name):
        feedback = check(task.name, space[task.answer])
        assert not feedback.right and ("no answer yet" in feedback.message or "nothing yet" in feedback.message)
    text = nbformat.writes(handed_out)
    assert "SOLUTION" not in text and '"solution"' not in text
    for cell in SOURCES[name].cells:
        if "solution" in cell.metadata.get("tags", []):
            assert not any(line in text for line in cell.source.splitlines() if len(line) > 20)


def test_the_kinds_of_exercises_are_told_apart():
    assert {type(exercise(task.name)) for _, task in TASKS} <= {Function, Value, Choice, Construction}
    with pytest.raises(ValueError, match=r"allowed: CHAPTER\.NAME"):
        exercise("nowhere.posterior")
    with pytest.raises(ValueError, match=r"allowed: targets\.ways"):
        exercise("targets.nothing")
