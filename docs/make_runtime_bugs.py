"""Writes docs/runtime-bugs.md from the registry in qcore/testing/bugs/.

python docs/make_runtime_bugs.py           write the file
python docs/make_runtime_bugs.py --check   exit 1 if the file is not what the registry says
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMAND = "python docs/make_runtime_bugs.py"

if __name__ == "__main__":  # as a program, from a checkout that need not be installed
    sys.path.insert(0, str(ROOT))

from docs.document import Document  # noqa: E402
from qcore.testing import bugs  # noqa: E402
from qcore.testing.bugs.record import PATHS, RUNTIMES, Bug, grouped  # noqa: E402

TITLES = {
    "elementwise": "Elementwise operators, softmaxes, resizing",
    "products": "Products",
    "convolutions": "Convolutions",
    "movement": "Movement",
    "reductions": "Reductions and pools",
    "recurrent": "Recurrent operators",
    "graph": "The interpreter",
}


def head() -> str:
    found = bugs.all()
    releases = " and ".join(RUNTIMES.values())
    return f"""# Defects of the official runtimes

Made by `{COMMAND}` from `qcore/testing/bugs/`; do not edit.

{len(found)} defects of {releases} on x86-64, met while every
operator was compared with them. Each has a generator of its smallest model, and a test that tries
it on the installed runtimes and fails when it behaves in another way, be it better.

```sh
python -m qcore.testing.bugs                        # the list
python -m qcore.testing.bugs softmax-512 -o b.tflite   # the model, its input beside it in b.npz
python -m qcore.testing.bugs --check                # tries them all, each in a process of its own
```

*reference*: `BUILTIN_REF`. *optimized*: `BUILTIN_WITHOUT_DEFAULT_DELEGATES`. *xnnpack*: the default
of the interpreter; operators that XNNPACK does not take run as on the optimized path. Paths that
are not named are right, or have no such kernel. "Our profiles" is what `kernels` and `qcore.run` do
for the runtime and path that has the defect; what they refuse, they refuse with the reason.
"""


def counts() -> list[str]:
    """A table: defects of each family by runtime and path."""
    places = [(r, p) for r in RUNTIMES for p in PATHS]
    lines = ["| Family | Defects | " + " | ".join(f"{RUNTIMES[r]}, {p}" for r, p in places) + " |"]
    lines.append("| --- |" + " ---: |" * (len(places) + 1))
    for family in bugs.FAMILIES:
        numbers = [sum(place in b.seen for b in family.bugs) for place in places]
        row = [TITLES[family.name], len(family.bugs), *numbers]
        lines.append("| " + " | ".join(map(str, row)) + " |")
    return lines


def entry(bug: Bug) -> list[str]:
    lines = [f"### {bug.key}", "", bug.title, ""]
    lines.append(f"- **Operators**: {', '.join(f'`{o}`' for o in bug.operators)}")
    lines.append(f"- **Smallest model**: {bug.trigger}.")
    lines += [f"- **{where}**: {what}." for where, what in grouped(bug.seen)]
    lines.append(f"- **A correct kernel**: {bug.correct}.")
    if bug.ours:
        lines.append(f"- **Our profiles** {bug.ours}.")
    if bug.note:
        lines.append(f"- {bug.note}")
    lines.append(f"- `python -m qcore.testing.bugs {bug.key} -o {bug.key}.tflite`")
    return [*lines, ""]


def document() -> str:
    """The whole text of docs/runtime-bugs.md."""
    lines = [head(), *counts(), ""]
    for family in bugs.FAMILIES:
        lines += [f"## {TITLES[family.name]}", ""]
        for bug in family.bugs:
            lines += entry(bug)
    return "\n".join(lines).rstrip() + "\n"


DOCUMENT = Document("runtime-bugs.md", "the registry", COMMAND, document)

if __name__ == "__main__":
    sys.exit(DOCUMENT.main(sys.argv[1:]))
