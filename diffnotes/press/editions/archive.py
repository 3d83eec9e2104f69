"""One archive of the site that opens from disk, with the notebooks: the same bytes from the same site."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Collection, Mapping
from importlib import metadata
from pathlib import Path

from ..errors import PressError
from ..files import at_work, lock, sweep
from ..layout import Project
from ..processes import interruptible
from ..site import intact

__all__ = ["archive", "pack"]

EPOCH = (2020, 1, 1, 0, 0, 0)  # the time of every file in an archive


def pack(target: Path, files: Mapping[str, Path | bytes], stored: Collection[str] = ()) -> None:
    """Put ``files``, name -> where it lies or what it holds, into the ZIP archive ``target``, in their order.

    All have one time and one mode, so that the same files give the same archive.

    Args:
        target: the archive; an older one is replaced when the new one is whole.
        files: what goes in.
        stored: names of those that are not compressed.
    """
    new = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        with zipfile.ZipFile(new, "w") as made:
            for name, content in files.items():
                entry = zipfile.ZipInfo(name, EPOCH)
                entry.compress_type = zipfile.ZIP_STORED if name in stored else zipfile.ZIP_DEFLATED
                entry.external_attr = 0o100644 << 16
                entry.create_system = 3
                data = content if isinstance(content, bytes) else content.read_bytes()
                made.writestr(entry, data, compresslevel=9)
        new.replace(target)
    finally:
        new.unlink(missing_ok=True)


def archive(project: Project) -> Path:
    """Pack the site of ``project`` into ``_build/diffnotes-VERSION-site.zip``, and return its path.

    It holds one folder: the site, with the notebooks without outputs in ``notebooks/`` and the executed ones in
    ``executed/``, and ``SHA256SUMS`` of all.

    Raises:
        PressError: if there is no site, or one that was changed since it was built.
    """
    folder, site = project.root / "_build", project.root / "_build" / "html"
    name = f"diffnotes-{metadata.version('diffnotes')}-site"
    target = folder / f"{name}.zip"
    with interruptible(), at_work(project.root), lock(site), lock(target):
        sweep(target)
        if not intact(site):
            raise PressError("there is no intact site in _build/html: first `diffnotes build --force`")
        files = {path.relative_to(site).as_posix(): path for path in site.rglob("*") if path.is_file()}
        pack(target, {f"{name}/{one}": files[one] for one in sorted(files)})
    return target
