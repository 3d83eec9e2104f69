"""Which commands of a shell write a file that was typed, read from their text alone."""

from __future__ import annotations

import re
from itertools import pairwise

__all__ = ["SUBCOMMANDS", "command_writes", "shell_writes"]

COMMANDS = {"tee", "touch", "cp", "mv", "rm", "mkdir", "rmdir", "ln", "dd", "truncate", "unzip", "install", "wget",
            "rsync", "patch", "gzip", "gunzip", "zip", "unlink", "shred", "mkfifo", "mktemp"}  # fmt: skip
LAST = {"cp", "mv", "ln", "install", "rsync"}  # what these write is named last
SUBCOMMANDS = {
    "git": {"add", "am", "apply", "bisect", "checkout", "cherry-pick", "clean", "clone", "commit", "fetch", "gc",
            "init", "merge", "mv", "pull", "push", "rebase", "reset", "restore", "revert", "rm", "stash", "submodule",
            "switch", "worktree"},
    **{name: {"install", "uninstall", "download", "wheel", "update", "upgrade", "remove", "create", "add", "sync"}
       for name in ("pip", "pip3", "conda", "mamba", "uv", "apt", "apt-get", "npm", "brew")},
}  # fmt: skip
BEFORE = {"sudo", "time", "env", "nice", "exec", "command", "nohup", "if", "then", "else", "elif", "do", "while",
          "until", "!", "{", "(", "xargs"}  # fmt: skip
_QUOTED = re.compile(r"\\.|'([^']*+)'|\"((?:\\.|[^\"\\])*+)\"", re.S)
_TESTS = re.compile(r"\[\[[^\n\[\]]*+\]\]|\(\([^\n()]*+\)\)|(?m:^|(?<=\s))#[^\n]*+")
_REDIRECTION = re.compile(r"(?<![<>])(?:\d|&)?>{1,2}\|?[ \t]*+(?![&($>{=]|/dev/|\s|$)")
_BREAKS = re.compile(r"[;|&\n`()]|\$\(")


def shell_writes(text: str) -> bool:
    """Whether a line or script of a shell writes a file: into one, or by a command that does.

    >>> [shell_writes(text) for text in ("git log > a", "git log 2>&1", "echo '->'", "touch a", "touch $folder/a")]
    [True, False, False, True, False]
    """
    text = _without_documents(text.replace("\\\n", " "))
    quoted: list[str] = []

    def aside(match: re.Match[str]) -> str:
        inside = match[1] if match[1] is not None else match[2]
        if inside is None:
            return match[0]
        quoted.append(inside)
        return "$" if re.match(r"[${]", inside) else "/dev/" if inside.startswith("/dev/") else f"\0{len(quoted) - 1}\0"

    plain = _TESTS.sub(" ", _QUOTED.sub(aside, text))
    if _REDIRECTION.search(plain):
        return True

    def whole(word: str) -> str:
        return re.sub("\0(\\d+)\0", lambda match: quoted[int(match[1])], word)

    return any(command_writes([whole(word) for word in part.split()]) for part in _BREAKS.split(plain))


def _without_documents(text: str) -> str:
    """A script without the texts that it hands to commands, from <<EOF to EOF."""
    lines, end = text.split("\n"), None
    alone = {line.strip() for line in lines}
    kept = []
    for line in lines:
        if end is None:
            kept.append(line)
            start = re.search(r"(?<!<)<<-?\s{0,3}['\"\\]?([A-Za-z_]\w*+)", line)
            end = start[1] if start and start[1] in alone else None
        elif line.strip() == end:
            end = None
    return "\n".join(kept)


def command_writes(words: list[str]) -> bool:
    """Whether a command of these words writes to something that was typed; what begins with $ or { was not."""
    place = 0
    while place < len(words) and (words[place] in BEFORE or re.match(r"\w+=", words[place])):
        place += 1
    words = words[place:]
    if not words:
        return False
    name, rest = words[0].rpartition("/")[2], words[1:]
    if "-c" in rest[:3] and re.fullmatch(r"(?:ba|z|da|k)?sh", name):
        return any(shell_writes(word) for word in rest[rest.index("-c") + 1 :][:1])
    if re.fullmatch(r"python[\d.]*|\$\w*", name) and rest[:1] == ["-m"]:
        return command_writes(rest[1:])
    plain = [word for word in rest if not re.match(r"[-<>]|\d?>", word)]
    if name in SUBCOMMANDS:
        places = [word for before, word in zip([name, *rest], rest) if before not in ("-C", "-c")]
        chosen = next((word for word in places if not word.startswith("-")), "")
        if name == "git" and chosen in ("branch", "tag", "config", "remote"):
            reads = {"--list", "-l", "--get", "-v", "show", "get-url"} & set(rest)
            return len(plain) > 1 and not reads
        if name == "git" and chosen in ("stash", "worktree") and "list" in rest:
            return False
        return chosen in SUBCOMMANDS[name] and "--dry-run" not in rest
    if name == "find":
        return "-delete" in rest or any(
            before in ("-exec", "-execdir", "-ok") and word in COMMANDS for before, word in pairwise(rest)
        )
    if name in ("sed", "perl"):
        return any(re.match(r"-[a-z]*i|--in-place", word) for word in rest)
    if name == "curl":
        kept = any(re.match(r"-[a-zA-Z]*[oO]\b|--output|--remote-name", word) for word in rest)
        return kept and "/dev/null" not in rest
    if name == "tar":
        return bool(rest) and bool(re.match(r"-?[a-z]*[xcru]|--(?:extract|create|append)", rest[0]))
    if name == "wget" and any(re.fullmatch(r"-q?O-?|--spider", word) for word in rest):
        return "-O" in rest and not any(word == "-" or re.match(r"[${/]", word) for word in plain)
    if name in ("gzip", "gunzip", "unzip") and any(re.fullmatch(r"-[a-z]*[clptkz]+[a-z]*|--stdout", w) for w in rest):
        return False
    if name == "dd":
        return any(word.startswith("of=") and not re.match(r"of=(?:[${]|/dev/)", word) for word in rest)
    if name in COMMANDS:
        written = plain[-1:] if name in LAST else plain
        if name == "mv":
            written = plain
        return any(not re.match(r"[${]|/dev/", word) for word in written)
    return False
