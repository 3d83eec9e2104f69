"""A Sphinx extension: the directive ``{quiz} NAME`` shows the questions of ``book/teaching/NAME.yml``.

On the site each question is a group of radio buttons, with the reasons of all its answers folded below it; with
``book/_static/quiz.js`` a button says whether the chosen answer is right, and why. In PDF and EPUB the questions are a
list, and a list of the answers with their reasons follows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from ..errors import PressError
from ..page import shared
from .questions import TEACHING, Option, Question, chapter, quiz

__all__ = ["setup"]

LETTERS = "abcd"


class Tag(nodes.General, nodes.Element):
    """An element of HTML: ``tag`` is its name, ``given`` its attributes; it stands on the site only."""


def tag(kind: str, /, *children: nodes.Node, classes: str = "", **given: str) -> Tag:
    """A node for an element of HTML with these children, classes and attributes."""
    return Tag("", *children, classes=classes.split(), tag=kind, given=given)


def _enter(writer: Any, node: Tag) -> None:
    if node["tag"] == "input":
        writer.body.append(writer.emptytag(node, "input", "", **node["given"]))
        raise nodes.SkipNode
    writer.body.append(writer.starttag(node, node["tag"], "", **node["given"]))


def _leave(writer: Any, node: Tag) -> None:
    writer.body.append(f"</{node['tag']}>\n")


def verdict(letter: str, option: Option) -> str:
    """What is said of an option before its reason.

    >>> verdict("b", Option("It is.", "As it is said.", right=True)), verdict("c", Option("It is not.", "It is."))
    ('b is right.', 'c is not right.')
    """
    return f"{letter} is {'' if option.right else 'not '}right."


class Questions(SphinxDirective):
    """The questions on a chapter."""

    required_arguments = 1
    option_spec: ClassVar = {}

    def run(self) -> list[nodes.Node]:
        """The questions as the builder at work shows them, or an error, which ends the build."""
        name, source = self.arguments[0], Path(self.env.app.srcdir)
        path, page = source / TEACHING / f"{name}.yml", source / "book/chapters" / f"{name}.ipynb"
        for one in (path, page):
            self.env.note_dependency(str(one))
        try:
            if not page.is_file():
                raise PressError(f"quiz {name}: there is no such chapter; allowed: the name of one")
            found = quiz(path, chapter(shared(page))).questions
            shown = self.asked if self.env.app.builder.name == "html" else self.printed
            return shown(name, found)
        except PressError as error:
            return [self.state.document.reporter.error(str(error), line=self.lineno)]

    def words(self, text: str) -> list[nodes.Node]:
        """The text of one paragraph, parsed.

        Raises:
            PressError: if the text makes something else than a paragraph.
        """
        found = self.parse_text_to_nodes(text)
        if len(found) != 1 or not isinstance(found[0], nodes.paragraph):
            raise PressError(f"{TEACHING}/{self.arguments[0]}.yml: {text!r:.60}; allowed: a text of one paragraph")
        return found[0].children

    def asked(self, name: str, questions: tuple[Question, ...]) -> list[nodes.Node]:
        """The questions for the site."""
        made = tag("div", classes="quiz")
        for number, one in enumerate(questions, 1):
            identity, tested = f"quiz-{name}-{number}", " and ".join(map(str, one.objectives))
            head = f"Question {number} of {len(questions)}, objective{'s' * (len(one.objectives) > 1)} {tested}"
            legend = tag("legend", _span("quiz-head", nodes.Text(head)), nodes.Text(" "),
                         _span("quiz-asked", *self.words(one.text)))  # fmt: skip
            options = [tag("label", tag("input", type="radio", name=identity, value=letter),
                           _span("quiz-letter", nodes.Text(letter)), nodes.Text(" "),
                           _span("quiz-text", *self.words(option.text)), classes="quiz-option")
                       for letter, option in zip(LETTERS, one.options)]  # fmt: skip
            question = tag("div", tag("fieldset", legend, *options), self.folded(one), classes="quiz-question")
            question["ids"] = [identity]
            made += question
        return [made]

    def folded(self, one: Question) -> Tag:
        """The reasons of all answers to a question, which unfold without a script; the script shows one by one."""
        items = [tag("li", self.reason(letter, option), classes=f"quiz-{'right' if option.right else 'wrong'}")
                 for letter, option in zip(LETTERS, one.options)]  # fmt: skip
        return tag("details", tag("summary", nodes.Text("All answers with their reasons")), tag("ul", *items),
                   classes="quiz-answers")  # fmt: skip

    def reason(self, letter: str, option: Option) -> nodes.paragraph:
        """The verdict on an option and its reason."""
        said = nodes.strong("", verdict(letter, option), classes=["quiz-verdict"])
        return nodes.paragraph("", "", said, nodes.Text(" "), *self.words(option.feedback))

    def printed(self, name: str, questions: tuple[Question, ...]) -> list[nodes.Node]:
        """The questions on paper: a list of them, and then one of the answers, the right one first."""
        asked, answers = _numbered("arabic", "."), _numbered("arabic", ".")
        for one in questions:
            options = _numbered("loweralpha", ")")
            for option in one.options:
                options += nodes.list_item("", nodes.paragraph("", "", *self.words(option.text)))
            asked += nodes.list_item("", nodes.paragraph("", "", *self.words(one.text)), options)
            order = sorted(zip(LETTERS, one.options), key=lambda pair: not pair[1].right)
            answers += nodes.list_item("", *(self.reason(*pair) for pair in order))
        return [asked, nodes.rubric("", "Answers"), answers]


def _span(classes: str, *children: nodes.Node) -> nodes.inline:
    """Words in the line; Sphinx sets quotation marks in nodes of this kind."""
    return nodes.inline("", "", *children, classes=[classes])


def _numbered(kind: str, suffix: str) -> nodes.enumerated_list:
    return nodes.enumerated_list(enumtype=kind, prefix="", suffix=suffix)


def setup(app: Any) -> dict[str, Any]:
    """Register the directive with Sphinx."""
    app.add_node(Tag, html=(_enter, _leave))
    app.add_directive("quiz", Questions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
