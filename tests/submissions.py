"""Submissions: the notebook of a chapter's exercises as good and bad students hand it in."""

import copy

import nbformat

from diffnotes.press.exercises import student
from diffnotes.press.layout import Project

PROJECT = Project.find()
SOURCE = nbformat.read(PROJECT.root / "notebooks" / "exercises" / "targets.ipynb", 4)
GOOD = 16  # points of all exercises of this chapter


def short(notebook):
    """A notebook without the cell that draws, for time."""
    new = copy.deepcopy(notebook)
    new.cells = [cell for cell in new.cells if "kept(" not in cell.source]
    new.cells.append(nbformat.v4.new_code_cell('check("targets.step", step)'))
    return new


SOLVED, BLANK = short(SOURCE), short(student(SOURCE))
ANSWER = 'def price(r, d):\n    return d / 2 * (1 / r - 1 + math.log(r))'
WRONG = 'def price(r, d):\n    return d / 2 * (r - 1 - math.log(r))'


def beside(code, notebook=SOLVED):
    """The notebook with one more cell, the second of its code."""
    new = copy.deepcopy(notebook)
    new.cells.insert(2, nbformat.v4.new_code_cell(code))
    return new


def at_the_end(*codes):
    new = copy.deepcopy(BLANK)
    new.cells += [nbformat.v4.new_code_cell(code) for code in codes]
    return new
