"""What tuned constants gain, on the models of bench.schemes: `python -m bench.tuning`.

Full int8, int8 weights alone, and int4 weights (recipe int4), each with plain rounding, corrected
biases, weights by GPTQ, and both; the same ranges and scales in each. Labelled models are
calibrated on their training pictures and judged on their test pictures; the others are judged on
the samples they were tuned on, so that their gain is too large: bench.mixed has unseen pictures.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import qcore
from bench.results import save, show
from bench.schemes import MODELS, compared, rows_of
from tests import corpus

TITLE = "tuned constants"


DENSE = "fmnist_vit_f32"  # a model of dense layers, the only ones that LiteRT's GPTQ takes
THEIRS = {
    "regex": ".*",
    "operation": "FULLY_CONNECTED",
    "algorithm_key": "GPTQ",
    "op_config": {
        "weight_tensor_config": {
            "num_bits": 4, "symmetric": True, "granularity": "CHANNELWISE", "dtype": "INT"
        },
        "compute_precision": "INTEGER", "explicit_dequantize": False, "skip_checks": False,
        "min_weight_elements": 0,
    },
}  # fmt: skip


def dense(folder: Path) -> dict[str, Any]:
    """Only dense layers int4, as LiteRT's quantizer has them with GPTQ."""
    file = folder / "gptq.json"
    file.write_text(json.dumps([THEIRS]))
    plain = qcore.recipe("int4").with_rule(operand="weight", min_elements=0)
    for other in ("CONV_2D", "BATCH_MATMUL"):
        plain = plain.with_rule(operator=other, mode="float")
    damped = {"key": "gptq", "damp": 0.01}  # theirs
    return {
        "dense layers int4": plain,
        "dense layers int4, by GPTQ": plain.with_rule(operand="weight", rounding=damped),
        "dense layers int4, by LiteRT's GPTQ": f"litert:{file}",
    }


def candidates() -> dict[str, Any]:
    """Recipes by name."""
    found: dict[str, Any] = {}
    for name in ("int8", "weight_only", "int4"):
        plain = qcore.recipe(name)
        corrected = plain.with_rule(operand="bias", rounding="corrected")
        found |= {
            name: plain,
            f"{name}, biases": corrected,
            f"{name}, weights": plain.with_rule(operand="weight", rounding="gptq"),
            f"{name}, both": corrected.with_rule(operand="weight", rounding="gptq"),
        }
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    parser.add_argument("--limit", type=int, default=10**9, help="test samples at most")
    parser.add_argument("--json", help="write the rows here as well")
    args = parser.parse_args(argv)
    if not corpus.available():
        parser.exit(2, f"{corpus.MISSING}\n")
    rows: list[dict[str, Any]] = []
    for name in args.models:
        print(name, file=sys.stderr)
        rows += rows_of(name, compared(name, candidates(), args.limit))
        if name == DENSE:
            with tempfile.TemporaryDirectory(prefix="qcore-") as folder:
                rows += rows_of(name, compared(name, dense(Path(folder)), args.limit))[1:]
    show(TITLE, rows)
    save(args.json, TITLE, rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
