"""Node data for Model Explorer: the SQNR of every layer, drawn on the graph of the model.

Format: google-ai-edge/model-explorer, `node_data_builder.py` (`GraphNodeData`) and
`node_data_provider_extension_service.ts` (how keys find nodes). A file holds one value for each
node, so every candidate is a file of its own; Model Explorer loads several at once.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from pathlib import Path
from typing import Any, Literal, get_args

from qcore.compare.run import file_name
from qcore.compare.values import Candidate, Comparison, Layer, Seen
from qcore.errors import BadInput
from qcore.report.data import unique
from tflite_schema import files

# Upper end in dB -> colour: orange where least is left of the signal, pale blue where most is.
# Above the last one a node keeps its own colour. Readable without telling red from green.
THRESHOLDS = (
    (0.0, "#8c3a00", "#ffffff"),
    (10.0, "#d55e00", "#ffffff"),
    (20.0, "#f0a35e", "#000000"),
    (30.0, "#f8dcc0", "#000000"),
    (40.0, "#d6e6f4", "#000000"),
)
Part = Literal["total", "own", "inherited"]


def overlay(
    comparison: Comparison, path: str | os.PathLike[str] | None = None, part: Part = "total"
) -> dict[str, dict[str, Any]]:
    """Node data by candidate, also written as JSON where a path is given.

    path: with one candidate the file itself; with several, each is written beside it with the
        candidate's name in the file's (out.json -> out-minmax.json, out-kl.json).
    part: which error's SQNR in dB: all of it, the operator's own, or the inherited.

    Nodes are found by the name of the tensor that an operator writes, so the overlay fits the graph
    of the float model and that of a candidate that kept its names; a name that stands there twice
    or is empty is replaced by the operator's number, which is the node's id in the float model.
    Layers without error (SQNR infinite) are left out, and keep their colour. Raises BadInput.
    """
    if part not in get_args(Part):
        raise BadInput(f"there is no error {part!r}; there are {', '.join(get_args(Part))}")
    names = unique([c.name for c in comparison.candidates])
    made = {
        name: _node_data(c, name, comparison.layers, part)
        for c, name in zip(comparison.candidates, names, strict=True)
    }
    if path is not None:
        for target, values in zip(overlay_paths(comparison, path), made.values(), strict=True):
            text = json.dumps(values, indent=1, allow_nan=False, ensure_ascii=False)
            files.replace(target, [text.encode("utf-8", "backslashreplace"), b"\n"])
    return made


def overlay_paths(comparison: Comparison, path: str | os.PathLike[str]) -> list[Path]:
    """Which files `overlay` writes for this path, one a candidate."""
    whole = Path(path)
    if len(comparison.candidates) == 1:
        return [whole]
    names = unique([file_name(c.name) for c in comparison.candidates])
    suffix = whole.suffix or ".json"
    return [whole.with_name(f"{whole.stem}-{name}{suffix}") for name in names]


def _node_data(
    candidate: Candidate, name: str, layers: tuple[Layer, ...], part: Part
) -> dict[str, Any]:
    keys = node_keys(layers)
    results: dict[str, Any] = {}
    for layer in layers:
        seen = candidate.seen.get(layer.key)
        value = None if seen is None else _decibel(seen, part)
        key = keys.get(layer)
        if value is not None and key is not None:
            # Several outputs of an operator under its number: the worst of them.
            value = min(value, results[key]["value"]) if key in results else value
            results[key] = {"value": value}
    return {
        "name": f"{name}: {part} SQNR, dB",
        "results": results,
        "thresholds": [
            {"value": value, "bgColor": colour, "textColor": text}
            for value, colour, text in THRESHOLDS
        ],
        "hideAggregatedStats": ["sum"],
    }


def node_keys(layers: tuple[Layer, ...]) -> dict[Layer, str]:
    """What Model Explorer finds a layer's node by; none for one that cannot be told from others.

    Numbers of operators are ids of nodes in one graph; the layers' first subgraph is meant.
    """
    count = Counter(layer.name for layer in layers)
    found = {}
    for layer in layers:
        if layer.name and count[layer.name] == 1:
            found[layer] = layer.name
        elif layer.key.subgraph == layers[0].key.subgraph:
            found[layer] = str(layer.operator)
    return found


def _decibel(seen: Seen, part: Part) -> float | None:
    difference = getattr(seen, part)
    if difference is None or math.isnan(difference.SQNR_dB) or difference.SQNR_dB == math.inf:
        return None
    # JSON has no infinity; nothing of a signal is left far above this.
    return round(max(difference.SQNR_dB, -200.0), 2)
