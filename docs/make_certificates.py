"""Writes the last section of docs/certify.md from bench/results/certificates.json.

python docs/make_certificates.py           write the section
python docs/make_certificates.py --check   exit 1 if it is not what the measurements say
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
COMMAND = "python docs/make_certificates.py"
MEASURED = "OPENBLAS_NUM_THREADS=1 python -m bench.certify --json bench/results/certificates.json"

if __name__ == "__main__":  # as a program, from a checkout that need not be installed
    sys.path.insert(0, str(ROOT))

from docs.document import Document, machine, table  # noqa: E402

PAGE = ROOT / "docs" / "certify.md"
HEADING = "## The corpus\n"
ABOUT = f"""
Made by `{COMMAND}`; do not edit this section.

    {MEASURED}

Every quantized model of the corpus as shipped. By a rule: operators whose outputs are bounded by
more than their type. Proved: paths (of three, ai-edge-litert) on which no accumulator can overflow.
Bits left: between the largest sum and its limit, in the operator named; 1.0 is a bias at the
guard's 2^30 (E14), beside weights of almost zero. Can saturate: operators with a requantized sum,
and in how many of them some input inside of the bounds is clipped. Errors: operators whose bound is
below the width of the output's range, and the first of them in steps.
Every input: operators from the first on whose bound needs no hypothesis. Elements: of all tensors,
on real inputs, XNNPACK path, and how many lie outside of their boxes.
CPU seconds: one certificate with errors, XNNPACK path, on one core.
"""


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the measurements as a row of the table."""
    return {
        "model": row["model"],
        "operators": row["operators"],
        "by a rule": row["by a rule"],
        "sums": row["sums"],
        "proved": row["proved, paths"],
        "bits left": f"{row['bits left']:.1f}",
        "in": row["in"],
        "any order, raw": "yes" if row["any order"] and row["raw"] else "no",
        "can saturate": f"{row['can saturate']} of {row['of']}",
        "errors": row["errors that say something"],
        "first, steps": row["first error, steps"],
        "every input": row["for every input"],
        "elements": f"{row['elements']:,}",
        "outside": row["outside"],
        "against": row["against"],
        "CPU seconds": f"{row['CPU seconds']:.2f}",
    }


def text() -> str:
    """The whole page: what is written by hand, and the section."""
    data = json.loads((ROOT / "bench" / "results" / "certificates.json").read_text("utf-8"))
    written = PAGE.read_text("utf-8").partition(HEADING)[0]
    rows = [shown(row) for row in data["rows"]]
    return f"{written}{HEADING}{ABOUT}\n{table(rows)}\n\n{machine(data)}\n"


DOCUMENT = Document("certify.md", "the measurements", COMMAND, text)

if __name__ == "__main__":
    sys.exit(DOCUMENT.main(sys.argv[1:]))
