r"""The picture of a verdict, drawn by LaTeX: what :func:`diffnotes.press.ledger.box.picture` writes as SVG."""

from __future__ import annotations

import re

__all__ = ["drawn"]

UNIT = 0.45  # points a unit of the SVG


def _number(text: str, name: str) -> float:
    return float(re.search(rf'\b{name}="([-\d.e+]+)"', text)[1])


def drawn(svg: str) -> str:
    r"""The LaTeX of one line of SVG that shows an interval against the region of its rule.

    >>> shapes = '<rect x="6" y="1" width="60" height="16"/><circle cx="9" cy="9" r="3"/>'
    >>> drawn(f'<svg height="18" width="120">{shapes}</svg>').splitlines()[2:-1]
    ['\\put(6,1){\\color[gray]{0.82}\\rule{27pt}{7.2pt}}', '\\put(9,9){\\circle*{6}}']
    """
    width, height = _number(svg, "width"), _number(svg, "height")
    lines = [rf"{{\setlength{{\unitlength}}{{{UNIT}pt}}%", rf"\begin{{picture}}({width:g},{height:g})"]
    for shape in re.findall(r"<(?:rect|path|circle)[^>]*>", svg):
        if shape.startswith("<rect"):
            x, y, w, h = (_number(shape, name) for name in ("x", "y", "width", "height"))
            lines.append(rf"\put({x:g},{height - y - h:g}){{\color[gray]{{0.82}}"
                         rf"\rule{{{w * UNIT:g}pt}}{{{h * UNIT:g}pt}}}}")
        elif shape.startswith("<circle"):
            x, y, r = (_number(shape, name) for name in ("cx", "cy", "r"))
            lines.append(rf"\put({x:g},{height - y:g}){{\circle*{{{2 * r:g}}}}}")
        elif edge := re.search(r'd="M([-\d.e+]+) ([\d.]+)V([\d.]+)"', shape):
            x, top, bottom = map(float, edge.groups())
            lines.append(rf"\put({x:g},{height - bottom:g}){{\line(0,1){{{bottom - top:g}}}}}")
        elif across := re.search(r'd="M([-\d.e+]+) ([\d.]+)H([-\d.e+]+)"', shape):
            x, y, end = map(float, across.groups())
            lines.append(rf"\put({x:g},{height - y:g}){{\line(1,0){{{end - x:g}}}}}")
        elif lozenge := re.search(r'd="M([-\d.e+]+) ([\d.]+)l3 -3', shape):
            x, y = map(float, lozenge.groups())
            lines.append(rf"\put({x + 3:g},{height - y:g}){{\makebox(0,0){{$\scriptscriptstyle\blacklozenge$}}}}")
    return "\n".join([*lines, r"\end{picture}}"])
