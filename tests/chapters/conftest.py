"""What the tests of the chapters' figures share."""

import pytest


@pytest.fixture
def shown(monkeypatch):
    """Where figures are shown: the last one's name, caption, alt and axes."""
    import matplotlib.pyplot as plt

    from diffnotes.show import figures

    seen = {}

    def show(fig, **words):
        seen.update(words, axes=fig.axes)
        fig.canvas.draw()

    monkeypatch.setattr(figures, "show", show)
    yield seen
    plt.close("all")


@pytest.fixture
def told(shown, request):
    """The text of the last figure, once its name and caption are seen to be right; the chapter is the module's."""
    chapter = request.module.__name__.rpartition(".")[2].removeprefix("test_").removesuffix("_figures")

    def text(name):
        assert shown["name"] == f"fig-{chapter}-{name}" and len(shown["caption"]) > 60
        assert not set(shown["alt"].split(". ")) & set(shown["caption"].split(". "))
        return shown["alt"]

    return text
