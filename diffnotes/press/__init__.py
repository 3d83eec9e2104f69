"""The press: runs the chapters, checks their pages, keeps the ledger of claims and builds the site.

Nothing of the mathematics imports it. Its command is ``diffnotes`` (:mod:`diffnotes.press.command`).
"""
