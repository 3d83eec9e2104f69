"""One chapter, executed by papermill in a fresh process: ``python child.py WORK``.

The folder WORK holds ``task.json`` (the notebook, the settings to inject, the folder to run in) and receives
``done.ipynb``. Progress and the outcome go to standard output, one JSON object a line. The file is run by its path and
imports nothing of the package, which keeps the process small: the chapter itself lives in the kernel.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path


def main(work: Path) -> None:
    # What the kernel writes to the process's own standard output must not mix with the messages.
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def tell(**message: object) -> None:
        print(json.dumps(message), file=channel, flush=True)

    from nbclient.exceptions import DeadKernelError
    from papermill import PapermillExecutionError, execute_notebook
    from papermill.engines import NBClientEngine, papermill_engines

    task = json.loads((work / "task.json").read_text(encoding="utf-8"))
    (work / "source.ipynb").write_text(task["notebook"], encoding="utf-8")
    seconds: list[float] = []

    class Telling(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, **options):
            codes = [cell for cell in nb_man.nb.cells if cell.cell_type == "code" and cell.source.strip()]
            start, complete, begun = nb_man.cell_start, nb_man.cell_complete, {}

            def cell_start(cell, *args, **kwargs):
                if cell in codes:
                    begun[id(cell)] = time.monotonic()
                    tell(cell=len(seconds) + 1, of=len(codes))
                return start(cell, *args, **kwargs)

            def cell_complete(cell, *args, **kwargs):
                if id(cell) in begun:
                    seconds.append(round(time.monotonic() - begun.pop(id(cell)), 2))
                return complete(cell, *args, **kwargs)

            nb_man.cell_start, nb_man.cell_complete = cell_start, cell_complete
            return super().execute_managed_notebook(nb_man, kernel_name, **options)

    papermill_engines.register("telling", Telling)
    begin, error = time.monotonic(), None
    try:
        execute_notebook(
            work / "source.ipynb", work / "done.ipynb", parameters=task["settings"], engine_name="telling",
            kernel_name="python3", progress_bar=False, cwd=task["folder"], start_timeout=180,
        )  # fmt: skip
    except PapermillExecutionError as raised:
        error = f"code cell [{len(seconds)}] raised {raised.ename}: {raised.evalue}\n\n" + "\n".join(raised.traceback)
    except DeadKernelError:
        error = f"the kernel died in code cell [{len(seconds)}]; was there enough memory?"
    usage = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # KiB, on macOS bytes
    memory = usage / (1024 if sys.platform != "darwin" else 1024**2)
    tell(error=error, seconds=round(time.monotonic() - begin, 1), memory_mib=round(memory), cells=seconds)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
