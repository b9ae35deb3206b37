"""Writes docs/deviations.md from the table in qcore/deviations.py.

python docs/make_deviations.py           write the file
python docs/make_deviations.py --check   exit 1 if the file is not what the table says
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMAND = "python docs/make_deviations.py"

if __name__ == "__main__":  # as a program, from a checkout that need not be installed
    sys.path.insert(0, str(ROOT))

from docs.document import Document  # noqa: E402
from qcore.deviations import DEVIATIONS  # noqa: E402

HEAD = f"""# Where we depart from TFLite's converter

Made by `{COMMAND}` from `qcore/deviations.py`; do not edit.

From the same ranges the recipes give the converter's own integers. The points below are the
exceptions: the converter's answer fails, is lost, or does not run there. Each can be switched in a
recipe (`deviations = {{ zero_scale = false }}` in TOML, `--set deviations.zero_scale=false` on the
command line), and `recipe.like_converter()` switches all of them off.
"""


def text() -> str:
    """The whole document."""
    parts = [HEAD]
    for key, d in DEVIATIONS.items():
        default = "on" if d.default else "off"
        parts.append(
            f"## {key}\n\n"
            f"- **The converter** {d.what}.\n- **Instead**, ours {d.instead}.\n"
            f"- **Why**: {d.why}.\n- By default {default}.\n"
        )
    return "\n".join(parts)


DOCUMENT = Document("deviations.md", "the entries of qcore/deviations.py", COMMAND, text)

if __name__ == "__main__":
    sys.exit(DOCUMENT.main(sys.argv[1:]))
