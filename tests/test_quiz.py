"""Questions with which readers check themselves: the rules of their files, the chapters' own, the page, paper."""

from __future__ import annotations

import copy
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import sites
import yaml
from browser import Browser
from test_accessible import faults

from diffnotes.press import alone, page, reference
from diffnotes.press.errors import PressError
from diffnotes.press.layout import Project
from diffnotes.press.lessons.questions import TEACHING, Chapter, chapter, quiz
from diffnotes.press.prose import numerals
from diffnotes.press.site import assemble, choose, render

ROOT = Path(__file__).resolve().parents[1]
NAMES = Project(ROOT).chapters()
ABOUT = Chapter(("derive a bound", "judge an interval"), ("sec-sample-bound", "sec-sample-interval"))


def option(text: str, right: bool = False) -> dict[str, Any]:
    return {"text": text, "feedback": f"On {text}", **({"right": True} if right else {})}


def good() -> dict[str, Any]:
    """A file of questions on :data:`ABOUT` that nothing is wrong with."""
    options = [option("One, $x_0$."), option("Two.", True), option("Three.")]
    asked = [{"question": f"Which {k}, $\\E x$?", "objectives": [1 + k % 2], "options": copy.deepcopy(options)}
             for k in range(6)]  # fmt: skip
    return {"objectives": {1: ["sec-sample-bound"], 2: ["sec-sample-interval"]}, "quiz": asked}


def written(folder: Path, found: Any) -> Path:
    path = folder / "sample.yml"
    path.write_text(found if isinstance(found, str) else yaml.safe_dump(found, allow_unicode=True))
    return path


# --- the rules ----------------------------------------------------------------------------------------------------


def test_a_file_is_read_as_it_is_written(tmp_path: Path) -> None:
    found = quiz(written(tmp_path, good()), ABOUT)
    assert found.objectives == {1: ("sec-sample-bound",), 2: ("sec-sample-interval",)}
    assert [one.objectives for one in found.questions] == [(1,), (2,)] * 3
    assert [one.right for one in found.questions[0].options] == [False, True, False]
    assert found.questions[3].text == "Which 3, $\\E x$?"


def change(place: str, value: Any) -> Any:
    """A change of the file: "quiz.2.options" leads to a place in it, and ... removes what is there."""

    def one(found: dict[str, Any]) -> None:
        *way, last = [int(key) if key.isdigit() else key for key in place.split(".")]
        for key in way:
            found = found[key]
        if value is ...:
            del found[last]
        else:
            found[last] = value

    return one


@pytest.mark.parametrize(("fault", "said"), [
    (change("quiz.2.options.0.right", True), r"sample.yml, question 3: options a, b are right; allowed: .*exactly one"),
    (change("quiz.2.options.1.right", ...), r"question 3: no option is right; allowed: .*exactly one"),
    (change("quiz.2.options.0.right", False), r"question 3, option a: right = False; allowed: true"),
    (change("quiz.0.options.2.feedback", ...), r"question 1, option c: no feedback; allowed: .*text, feedback"),
    (change("quiz.0.options.2.feedback", " "), r"question 1, option c: feedback = ' '; allowed: a text"),
    (change("quiz.0.options.0.text", 7), r"question 1, option a: text = 7; allowed: a text of one paragraph"),
    (change("quiz.0.options.0.text", "One\n\nTwo"), r"question 1, option a: text = .*; allowed: a text"),
    (change("quiz.0.options.0.text", "Two."), r"question 1: two options say the same"),
    (change("quiz.5.objectives", [3]), r"question 6: objectives = \[3\]; allowed: a list of numbers from 1 to 2"),
    (change("quiz.5.objectives", []), r"question 6: objectives = \[\]; allowed"),
    (change("quiz.5.objectives", 1), r"question 6: objectives = 1; allowed"),
    (change("quiz.5.objectives", ["1"]), r"question 6: objectives = \['1'\]; allowed"),
    (change("quiz.5.options.1", ...), r"question 6: options are too few or too many; allowed: a list of 3 to 4"),
    (change("quiz.5.options", [option(f"{k}.", k == 2) for k in range(5)]), r"question 6: options are too few or too"),
    (change("quiz.4.hint", "no"), r"question 5: unknown key 'hint'; allowed: question, objectives, options"),
    (change("quiz.4.question", ...), r"question 5: no question; allowed"),
    (change("quiz.4.options.1.hint", "no"), r"question 5, option b: unknown key 'hint'; allowed: text, feed"),
    (change("quiz.4", "What?"), r"question 5: 'What\?'; allowed: a table"),
    (change("quiz.4", None), r"question 5: it is empty; allowed: a table"),
    (change("quiz.0", ...), r"sample.yml: quiz has too few questions; allowed: a list of 6 or more"),
    (change("quiz", None), r"sample.yml: quiz has too few questions"),
    (change("quiz", ...), r"sample.yml: no quiz; allowed: a table with objectives, quiz"),
    (change("answers", []), r"sample.yml: unknown key 'answers'; allowed: objectives, quiz"),
    (change("objectives.3", ["sec-sample-bound"]), r"sample.yml: objectives = 1, 2, 3; allowed: 1, 2"),
    (lambda found: found["objectives"].pop(2), r"sample.yml: objectives = 1; allowed: 1, 2"),
    (change("objectives", None), r"sample.yml: objectives = None; allowed"),
    (lambda found: found["objectives"].update({2: ["sec-a"]}), r"objective 2: section 'sec-a'; allowed: .*sec-s"),
    (lambda found: found["objectives"].update({2: []}), r"objective 2: no section; allowed: one or more of sec-sa"),
    (lambda found: found["objectives"].update({2: "sec-sample-bound"}), r"objective 2: section 'sec-sample-bound'; al"),
    (lambda found: [one.update(objectives=[1]) for one in found["quiz"]], r"sample.yml: no question on objective 2"),
])  # fmt: skip
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, fault: Any, said: str) -> None:
    found = good()
    fault(found)
    with pytest.raises(PressError, match=said) as raised:
        quiz(written(tmp_path, found), ABOUT)
    assert str(raised.value).startswith(f"{TEACHING}/sample.yml")


@pytest.mark.parametrize(("text", "said"), [
    ("", "it is empty; allowed: a table with objectives, quiz"),
    ("- one\n", "allowed: a table with objectives, quiz"),
    ("quiz: [}\n", "sample.yml, line 1"),
])  # fmt: skip
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(PressError, match=said):
        quiz(written(tmp_path, text), ABOUT)
    with pytest.raises(PressError, match=r"teaching/none.yml: there is no such file; allowed: sample.yml"):
        quiz(tmp_path / "none.yml", ABOUT)


def test_objectives_and_sections_are_read_from_a_chapter() -> None:
    made = sites.chapter("sample")
    with pytest.raises(PressError, match="needs a list of learning objectives"):
        chapter(made)
    made.cells[0]["source"] = HEAD
    assert chapter(made) == ABOUT


HEAD = """# A chapter made by hand

:::{admonition} Learning objectives
:class: objectives

After this chapter you can

1. derive a bound;
2. judge an interval.
:::

(sec-sample-bound)=
## A bound

(sec-sample-interval)=
## An interval"""


# --- the questions of the book ------------------------------------------------------------------------------------


def of(name: str) -> tuple[Any, Any, Any]:
    """(notebook, what it promises, questions) of a chapter."""
    notebook = page.read(ROOT / f"notebooks/{name}.ipynb")
    about = chapter(notebook)
    return notebook, about, quiz(ROOT / TEACHING / f"{name}.yml", about)


def texts(questions: Any) -> list[str]:
    return [text for one in questions for text in (
        one.text, *(part for option in one.options for part in (option.text, option.feedback)))]  # fmt: skip


def test_each_chapter_has_its_questions_and_no_other_has() -> None:
    assert sorted(path.stem for path in (ROOT / TEACHING).glob("*.yml")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_objective_has_sections_and_questions_and_each_section_an_objective(name: str) -> None:
    notebook, about, found = of(name)
    assert list(found.objectives) == list(range(1, len(about.objectives) + 1))
    assert {number for one in found.questions for number in one.objectives} == set(found.objectives)
    prose = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    closing = set(re.findall(r"^\((sec-[\w-]+)\)=\n## (?:Summary|What holds)$", prose, re.M))
    served = {label for labels in found.objectives.values() for label in labels}
    assert served == set(about.sections) - closing and all(label.startswith(f"sec-{name}-") for label in served)


@pytest.mark.parametrize("name", NAMES)
def test_the_questions_stand_before_the_exercises(name: str) -> None:
    for path in (ROOT / f"notebooks/{name}.ipynb", ROOT / f"book/chapters/{name}.ipynb"):
        cells = [cell.source for cell in page.read(path).cells if cell.cell_type == "markdown"]
        place = next(i for i, text in enumerate(cells) if "{quiz}" in text)
        assert cells[place].startswith(f"(quiz-{name})=\n## Check yourself\n")
        assert cells[place].endswith(f"```{{quiz}} {name}\n```") and cells[place + 1].startswith("## Exercises")


@pytest.mark.parametrize("name", NAMES)
def test_nothing_gives_the_right_answers_away(name: str) -> None:
    """The right one is not always at the same place, and not mostly the longest."""
    _, _, found = of(name)
    places = [[option.right for option in one.options].index(True) for one in found.questions]
    longest = [max(one.options, key=lambda option: len(option.text)).right for one in found.questions]
    assert all(places.count(place) <= 0.5 * len(places) for place in places) and len(set(places)) >= 3
    assert sum(longest) <= 0.6 * len(longest)


@pytest.mark.parametrize("name", NAMES)
def test_no_number_is_typed_and_every_symbol_explained(name: str) -> None:
    """Questions keep the rules of the chapter's prose; each reason says where to read on."""
    notebook, _, found = of(name)
    said = texts(found.questions)
    assert {text: numbers for text in said if (numbers := numerals(text, set()))} == {}
    known = reference.notation(ROOT / reference.NOTATION)
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    assert reference.undefined([*cells, *said], known, name) == reference.clashes([*cells, *said], known, name) == []
    place = re.compile(r"\{(?:ref|prf:ref|eq|numref|claim)\}`")
    reasons = [[option.feedback for option in one.options] for one in found.questions]
    assert not [one for one in reasons if sum(not place.search(reason) for reason in one) > 1]


# --- the page -----------------------------------------------------------------------------------------------------

SAID = "document.querySelector('#quiz-NAME-K .quiz-said').textContent.replace(/\\s+/g, ' ').trim()"


@pytest.fixture
def questions(site: Path, browser: Browser) -> Any:
    """The questions on the targets, and their page, open."""
    browser.view()
    browser.open((site / "book/chapters/targets.html").as_uri())
    return of("targets")[2].questions


def said(browser: Browser, number: int, name: str = "targets") -> str:
    return browser.run(SAID.replace("NAME", name).replace("K", str(number)))


def start(feedback: str) -> str:
    """The words of a reason before its first formula or role."""
    return re.split(r"[${*(]", " ".join(feedback.split()))[0].strip()


def settled(browser: Browser) -> None:
    browser.run("new Promise(done => setTimeout(done, 100))")


@pytest.mark.parametrize("number", [1, 3, 7])
def test_a_chosen_answer_is_told_its_own_reason(questions: Any, browser: Browser, number: int) -> None:
    question = questions[number - 1]
    for place, option in enumerate(question.options):
        browser.run(f"document.querySelectorAll('#quiz-targets-{number} input')[{place}].click()")
        assert said(browser, number) == ""  # not before it is asked for
        browser.run(f"document.querySelector('#quiz-targets-{number} .quiz-check').click()")
        settled(browser)
        told, letter = said(browser, number), "abcd"[place]
        assert told.startswith(f"{letter} is right." if option.right else f"{letter} is not right.")
        reason = start(option.feedback)
        assert reason.replace("'", "’") in told.replace("'", "’") and (len(reason) > 8 or "$" in option.feedback)
        others = [other.feedback for other in question.options if other is not option]
        assert not [one for one in map(start, others) if len(one) > 20 and one in told]
    assert not browser.errors


def test_all_of_it_works_by_keyboard_alone(questions: Any, browser: Browser) -> None:
    """Tab to the group, arrows to choose, Enter or the button to check; the focus stays where it was."""

    def arrow() -> None:
        key = {"key": "ArrowDown", "code": "ArrowDown", "windowsVirtualKeyCode": 40}
        for kind in ("rawKeyDown", "keyUp"):
            browser.send("Input.dispatchKeyEvent", type=kind, **key)

    number = 1
    right = [option.right for option in questions[0].options].index(True)
    browser.run("(() => { const h = document.querySelector('.quiz').closest('section').querySelector('h2');"
                " h.tabIndex = -1; h.focus(); })()")  # fmt: skip
    focus = "document.activeElement.closest('.quiz-question')?.id + ' ' + (document.activeElement.value || "
    focus += "document.activeElement.textContent)"
    for _ in range(4):
        browser.press("Tab")
        if browser.run("document.activeElement.matches('.quiz-option input')"):
            break
    assert browser.run("document.activeElement.closest('.quiz-question').id") == "quiz-targets-1"
    browser.press("Enter")
    assert said(browser, number) == "Choose an answer first."
    browser.press(" ")
    assert said(browser, number) == ""
    browser.press("Enter")
    assert said(browser, number).startswith("a is right." if right == 0 else "a is not right.")
    for _ in range(right or 1):
        arrow()
        assert said(browser, number) == ""  # nothing is told on the way
    browser.press("Tab")
    assert browser.run(focus) == "quiz-targets-1 Check"
    browser.press("Enter")
    letter = "abcd"[right or 1]
    assert said(browser, number).startswith(f"{letter} is {'' if right else 'not '}right.")
    assert browser.run(focus) == "quiz-targets-1 Check"


def test_screen_readers_get_groups_names_and_a_polite_region(questions: Any, browser: Browser) -> None:
    for number in (1, 4):
        asked = f"document.querySelector('#quiz-targets-{number}')"
        assert browser.run(f"{asked}.querySelector('fieldset > legend .quiz-asked') !== null")
        assert browser.run(f"{asked}.querySelector('[role=status]').className") == "quiz-said"
        names = f"[...{asked}.querySelectorAll('input')].map(i => i.labels.length + i.name)"
        assert set(browser.run(names)) == {f"1quiz-targets-{number}"}
        told = f"{asked}.querySelector('button').getAttribute('aria-describedby')"
        assert browser.run(f"document.getElementById({told}).textContent").startswith(f"Question {number} of")
    assert browser.run("document.querySelectorAll('.quiz-answers:not([hidden])').length") == 0
    assert browser.run("document.querySelectorAll('.quiz mjx-merror, .quiz [data-mjx-error]').length") == 0


CHOOSE = """document.querySelectorAll('.quiz-question').forEach((one, k) => {
  one.querySelectorAll('input')[k % 3].checked = true; one.querySelector('form').requestSubmit(); })"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_in_answered_questions(site: Path, browser: Browser, dark: bool) -> None:
    browser.view(dark=dark)
    for name in ("targets", "recursion"):
        browser.open((site / f"book/chapters/{name}.html").as_uri())
        browser.run(CHOOSE)
        settled(browser)
        kinds = browser.run("[...document.querySelectorAll('.quiz-said > div')].map(one => one.className)")
        assert {"quiz-right", "quiz-wrong"} == set(kinds)
        assert faults(browser) == []


@pytest.mark.parametrize("name", NAMES)
def test_answered_questions_fit_a_telephone(site: Path, browser: Browser, name: str) -> None:
    browser.view(width=360, height=740)
    browser.open((site / f"book/chapters/{name}.html").as_uri())
    browser.run(CHOOSE)
    settled(browser)
    browser.run("document.querySelectorAll('.quiz-answers').forEach(one => { one.hidden = false; one.open = true; })")
    assert browser.run("document.documentElement.scrollWidth") <= 360
    wide = """[...document.querySelectorAll('.quiz mjx-container')].filter((one) => {
      for (let up = one.parentElement; !up.matches('.quiz'); up = up.parentElement)
        if (['auto', 'scroll'].includes(getComputedStyle(up).overflowX)) return false;
      return one.getBoundingClientRect().right > innerWidth; }).map(one => one.textContent)"""
    assert browser.run(wide) == []


def test_signs_and_lines_tell_right_from_wrong_without_colour(questions: Any, browser: Browser) -> None:
    browser.run(CHOOSE)
    settled(browser)
    styles = """['right', 'wrong'].map((kind) => {
      const one = document.querySelector(`.quiz-said > .quiz-${kind}`), verdict = one.querySelector('.quiz-verdict');
      return [getComputedStyle(one).borderLeftStyle, getComputedStyle(verdict, '::before').content]; })"""
    (line, sign), (other_line, other_sign) = browser.run(styles)
    assert line != other_line and sign != other_sign and "✓" in sign and "✗" in other_sign


def test_print_has_questions_and_options_and_no_answers(questions: Any, browser: Browser) -> None:
    browser.run(CHOOSE)
    settled(browser)
    browser.send("Emulation.setEmulatedMedia", media="print")
    try:
        shown = "[...document.querySelectorAll('SELECTOR')].filter(one => one.checkVisibility()).length"
        for selector in (".quiz-said > div", ".quiz-answers", ".quiz-answers li", ".quiz-check"):
            assert browser.run(shown.replace("SELECTOR", selector)) == 0, selector
        assert browser.run(shown.replace("SELECTOR", ".quiz-asked")) == len(questions)
        assert browser.run(shown.replace("SELECTOR", ".quiz-text")) == sum(len(one.options) for one in questions)
        signs = "[...document.querySelectorAll('.quiz-text')].map(one => getComputedStyle(one, '::after').content)"
        assert set(browser.run(signs)) <= {"none", "normal"}
    finally:
        browser.send("Emulation.setEmulatedMedia", media="")


def test_without_javascript_the_reasons_unfold(site: Path, browser: Browser) -> None:
    browser.view()
    browser.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open((site / "book/chapters/targets.html").as_uri(), formulas=False)
        found = of("targets")[2].questions
        folded = "[...document.querySelectorAll('.quiz-answers')].filter(one => one.checkVisibility())"
        assert browser.run(f"{folded}.length") == len(found)
        assert browser.run("document.querySelectorAll('.quiz button, .quiz form').length") == 0
        browser.run(f"{folded}[0].querySelector('summary').click()")
        told = browser.run(f"{folded}[0].textContent")
        assert told.count("is not right.") == len(found[0].options) - 1 and told.count("is right.") == 1
    finally:
        browser.send("Emulation.setScriptExecutionDisabled", value=False)


def test_questions_load_nothing_and_open_from_disk(questions: Any, browser: Browser) -> None:
    assert not [url for url in browser.requests if not url.startswith(("file:", "data:", "blob:"))]
    assert {"quiz.js", "quiz.css"} <= {url.split("/")[-1].split("?")[0] for url in browser.requests}


# --- the build, and paper -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def staged(tmp_path_factory: Any) -> Path:
    """A book of one chapter with questions, ready for a builder."""
    folder = tmp_path_factory.mktemp("quiz")
    project = sites.runnable(folder / "project")
    source = folder / "source"
    assemble(project, choose(project, "latest"), source)
    made = source / "book/chapters/sample.ipynb"
    notebook = page.read(made)
    notebook.cells[0].source = HEAD
    notebook.cells[0].source += "\n\n## Check yourself\n\n```{quiz} sample\n```"
    made.write_text(page.text(notebook))
    written(source / TEACHING, good())
    return source


def test_the_epub_has_questions_and_then_answers(staged: Path, tmp_path: Path) -> None:
    made = render(staged, tmp_path / "work", "epub") / "book/chapters/sample.xhtml"
    text = " ".join(re.sub(r"<[^>]+>", " ", made.read_text(encoding="utf8")).split())
    asked, answers = text.index("Which 5"), text.index("Answers")
    assert text.index("Which 0") < asked < answers < text.index("b is right.")
    assert text.count("b is right.") == 6 and text.count("a is not right.") == text.count("c is not right.") == 6
    assert "<input" not in made.read_text() and "<details" not in made.read_text() and "quiz.js" not in made.read_text()


def test_latex_has_questions_and_then_answers(staged: Path, tmp_path: Path) -> None:
    made = render(staged, tmp_path / "work", "latex") / "diffnotes.tex"
    text = made.read_text(encoding="utf8")
    start = text.index("Check yourself}")
    questions, _, answers = text[start:].partition("Answers")
    assert questions.count("Which ") == 6 and questions.count("Two.") == 6 and "right." not in questions
    assert answers.count("b is right.") == 6 and answers.index("b is right.") < answers.index("a is not right.")
    assert r"\begin{enumerate}" in questions


def test_a_fault_in_a_file_ends_the_build(staged: Path, tmp_path: Path) -> None:
    import shutil

    source = tmp_path / "source"
    shutil.copytree(staged, source)
    found = good()
    change("quiz.2.options.0.right", True)(found)
    written(source / TEACHING, found)
    with pytest.raises(PressError, match=r"book/teaching/sample.yml, question 3: options a, b are right; allowed"):
        render(source, tmp_path / "work")
    found = good()
    change("quiz.1.options.0.text", "- a list")(found)
    written(source / TEACHING, found)
    with pytest.raises(PressError, match=r"book/teaching/sample.yml: '- a list'; allowed: a text of one paragraph"):
        render(source, tmp_path / "work")
    (source / TEACHING / "sample.yml").unlink()
    with pytest.raises(PressError, match=r"book/teaching/sample.yml: there is no such file; allowed: .*targets.yml"):
        render(source, tmp_path / "work")


def test_a_working_copy_says_where_the_questions_are() -> None:
    made = sites.chapter("sample")
    made.cells[-1].source = textwrap.dedent("""\
        ## Check yourself

        ```{quiz} sample
        ```""")
    alone.alone(made, {}, {})
    assert made.cells[-1].source == "## Check yourself\n\nThe questions stand on the page of this chapter in the book."
