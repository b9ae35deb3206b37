"""Makes docs/report.png: the report of a comparison on the example model, as a browser shows it.

python docs/screenshot.py            compare, look at the page in every width and theme, write it
python docs/screenshot.py --check    the same without writing; exit 1 where something is wrong

Looked at is that the page says nothing on the console, asks for nothing, and is not wider than the
window at 400 and 1600 pixels, light and dark. Needs Chromium (apt-get install chromium).
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":  # as a program, from a checkout that need not be installed
    sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

import qcore  # noqa: E402
from docs import browser  # noqa: E402
from qcore.compare import Comparison  # noqa: E402

PICTURE = ROOT / "docs" / "report.png"
LIMIT = 300_000  # bytes
WIDTHS, TALL = (400, 1600), 3440
CANDIDATES = (
    "int8",
    "int8+octav",
    "int8+percentile",
    "int16x8",
    "dynamic",
    "litert:static_wi8_ai8",
)


def compare() -> Comparison:
    """The example model: three schemes, two more recipes, and LiteRT's quantizer."""
    with np.load(ROOT / "examples" / "symbols.npz") as arrays:
        pictures, labels = arrays["x_test"].astype(np.float32) / 255, arrays["y_test"]
    samples = qcore.data.open(ROOT / "examples" / "symbols.npz", std=255, limit=100)
    return qcore.compare(
        ROOT / "examples" / "symbols.tflite", CANDIDATES, samples, labels, evaluation=pictures
    )


def look(page: browser.Page, report: Path) -> list[str]:
    """What is wrong with the page, in every width and theme."""
    return [
        f"{width} pixels, {'dark' if dark else 'light'}: {problem}"
        for width in WIDTHS
        for dark in (False, True)
        for problem in page.open(report, width, dark).problems
    ]


def small(picture: bytes) -> bytes:
    """The picture with 256 colours: what is drawn here has few."""
    from PIL import Image

    out = io.BytesIO()
    whole = Image.open(io.BytesIO(picture)).convert("RGB")
    whole.quantize(256, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print("usage: python docs/screenshot.py [--check]", file=sys.stderr)
        return 2
    program = browser.find()
    if program is None:
        print(f"docs/screenshot.py: {browser.MISSING}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder, browser.open_page(program) as page:
        report = Path(folder) / "report.html"
        compare().report(report)
        problems = look(page, report)
        page.open(report, WIDTHS[-1], dark=False, height=1500)
        picture = small(page.picture(height=TALL))
    if len(picture) > LIMIT:
        problems.append(f"the picture has {len(picture):,} bytes, more than {LIMIT:,}")
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems and not arguments:
        PICTURE.write_bytes(picture)
        print(f"{PICTURE.relative_to(ROOT)}: {len(picture):,} bytes")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
