"""One chapter, executed by papermill in a fresh process: ``python guard.py WORK child.py WORK``.

The folder WORK holds ``task.json`` (the notebook, the settings to inject, the folder to run in, ...) and receives
``done.ipynb`` and ``kernel.json``. Progress and the outcome go to standard output, one JSON object a line. The file is
run by its path and imports nothing of the package: the chapter itself lives in the kernel.
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

    begin = time.monotonic()
    seconds: list[float] = []
    begun: list[str] = []  # the code cells that have started
    try:
        error = execute(work, tell, seconds, begun)
    except BaseException as raised:  # whatever it is, its cause must reach the user
        error = f"the run could not go on: {type(raised).__name__}: {raised}"
    usage = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # KiB, on macOS bytes
    memory = usage / (1024 if sys.platform != "darwin" else 1024**2)
    tell(error=error, seconds=round(time.monotonic() - begin, 1), memory_mib=round(memory), cells=seconds)


def execute(work: Path, tell, seconds: list[float], begun: list[str]) -> str | None:
    """Execute the chapter; what went wrong, or None."""
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill import PapermillExecutionError, execute_notebook
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import NBClientEngine, papermill_engines

    task = json.loads((work / "task.json").read_text(encoding="utf-8"))
    (work / "source.ipynb").write_text(task["notebook"], encoding="utf-8")

    class Manager(AsyncKernelManager):
        """Starts the press's own kernel on this interpreter, whatever kernels are installed for the user."""

        @property
        def kernel_spec(self) -> KernelSpec:
            argv = [sys.executable, "-s", "-P", str(Path(__file__).with_name("kernel.py")), task["package"],
                    task["root"], "-f", "{connection_file}"]  # fmt: skip
            return KernelSpec(argv=argv, display_name="Python 3", language="python")

    class Client(PapermillNotebookClient):
        def papermill_execute_cells(self) -> None:
            super().papermill_execute_cells()
            place, root = str(work / "kernel.json"), task["root"]
            call = f"report({place!r}, {root!r}, {task['names']!r}, {task['chapter']!r})"
            asked = {"report": f"__import__('diffnotes_kernel').{call}"}
            self.wait_for_reply(self.kc.execute("", silent=True, user_expressions=asked))

    class Telling(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, start_timeout=60, execution_timeout=None, **options):
            codes = [cell for cell in nb_man.nb.cells if cell.cell_type == "code" and cell.source.strip()]
            start, complete, running = nb_man.cell_start, nb_man.cell_complete, {}

            def cell_start(cell, *args, **kwargs):
                if any(cell is code for code in codes):
                    running[id(cell)] = time.monotonic()
                    begun.append(next((line.strip() for line in cell.source.splitlines() if line.strip()), "")[:40])
                    tell(cell=len(begun), of=len(codes))
                return start(cell, *args, **kwargs)

            def cell_complete(cell, *args, **kwargs):
                if id(cell) in running:
                    seconds.append(round(time.monotonic() - running.pop(id(cell)), 2))
                return complete(cell, *args, **kwargs)

            nb_man.cell_start, nb_man.cell_complete = cell_start, cell_complete
            Client(nb_man, kernel_manager_class=Manager, kernel_name="python3", startup_timeout=start_timeout,
                   timeout=execution_timeout).execute()  # fmt: skip

    papermill_engines.register("telling", Telling)
    try:
        execute_notebook(
            literal(work / "source.ipynb"), literal(work / "done.ipynb"), parameters=task["settings"],
            engine_name="telling", kernel_name="python3", progress_bar=False, cwd=task["folder"], start_timeout=180,
            execution_timeout=task["timeout"],
        )  # fmt: skip
    except PapermillExecutionError as raised:
        trace, said = "\n".join(raised.traceback), last_words(work / "done.ipynb")
        what = f"{raised.ename}: {raised.evalue}" if raised.evalue.strip() else said or raised.ename
        return f"code cell [{len(begun)}] raised {what}\n\n{trace}"
    except CellTimeoutError:
        return f"{_cell(begun)} took longer than {task['timeout']} s and was ended; --cell-timeout allows more"
    except DeadKernelError:
        return f"the kernel died in {_cell(begun)}; was there enough memory, and does no cell end it?"
    except RuntimeError as raised:
        if not begun:  # the kernel's own words are on standard error
            return f"the kernel could not be started: {raised}"
        return f"the kernel could not go on in {_cell(begun)}: {raised}"
    return None


def last_words(path: Path) -> str:
    """The last line that the cells of the notebook wrote on standard error; a mistyped magic says no more than that."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(output.get("text", "")) for cell in cells for output in cell.get("outputs", [])
             if output.get("name") == "stderr"]  # fmt: skip
    return "\n".join(texts).strip().split("\n")[-1]


def literal(path: Path | str) -> str:
    """A path as papermill wants it: it would fill in what stands in braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _cell(begun: list[str]) -> str:
    return f"code cell [{len(begun)}] ({begun[-1]!r})" if begun else "no cell"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
