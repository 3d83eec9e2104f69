"""What the book becomes besides the site: one PDF, one EPUB, one archive that holds the site.

``making`` makes PDF and EPUB from the pages of the site, ``writers`` is the Sphinx extension that both need,
``formulas`` sets formulas as MathML, ``picture`` draws verdicts in LaTeX, ``checking`` reads what was made, and
``archive`` packs.
"""
