"""Where we depart from TFLite's converter on purpose, each switchable by its key in a recipe.

The default of the project is the converter, integer for integer; a deviation stands here only
where the converter's own answer fails, loses, or does not run.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Deviation:
    """what: what the converter does.  instead: what we do.  why.  default: whether we do it."""

    what: str
    instead: str
    why: str
    default: bool = True


DEVIATIONS: dict[str, Deviation] = {
    "fold_float16": Deviation(
        what="fails or crashes on float16 constants behind DEQUANTIZE",
        instead="folds them to float32 constants first, for every mode that quantizes",
        why="models with float16 weights are common and have the same meaning",
    ),
    "fold_hybrid": Deviation(
        what="keeps int8 weights of hybrid operators as they are, or refuses the file",
        instead="dequantizes them to float32 first and quantizes them like any weight",
        why="the recipe's scheme then holds for every weight",
    ),
    "fold_integer": Deviation(
        what="leaves integer constants behind DEQUANTIZE as they are",
        instead="folds them to float32 constants and quantizes them like any weight",
        why="weight-only files then take every recipe, and its scheme holds for every weight",
    ),
    "fold_sparse": Deviation(
        what="keeps sparse constants and the DENSIFY behind them",
        instead="unpacks them to dense float32 constants",
        why="no integer kernel takes a sparse float weight, and DENSIFY would run at every start",
    ),
    "whole_cells": Deviation(
        what="in dynamic-range mode leaves the small weights of an LSTM, RNN or SVDF float beside "
        "large integer ones (UNIDIRECTIONAL_SEQUENCE_LSTM excepted)",
        instead="quantizes all weights of the operator or none",
        why="the kernels refuse the mixture, and SVDF computes noise from it",
    ),
    "lstm_intermediates": Deviation(
        what="refuses an LSTM without its five intermediate tensors",
        instead="adds them",
        why="converters of other frameworks leave them out",
    ),
    # --- both quantizers ---
    "runtime_limits": Deviation(
        what="does not look at the multipliers that follow from its scales, in either of its "
        "quantizers",
        instead="leaves an operator float whose multiplier the kernel cannot hold",
        why="the runtime aborts (ADD, SUB) or shifts bits out otherwise",
    ),
    "negative_roots": Deviation(
        what="makes SQRT (rules A) and RSQRT (both quantizers) integer whatever their input's grid",
        instead="leaves them float unless their input can never be negative",
        why="the kernels stop at a negative input, which rounding alone can produce",
    ),
    # --- rules B (recipes with dialect "legacy") ---
    "float_operators": Deviation(
        what="the older quantizer stops where one operator has no integer form, unless float "
        "operators are allowed",
        instead="leaves that operator float between DEQUANTIZE and QUANTIZE, with the reason",
        why="one unusual operator is no reason to have no model",
    ),
    "more_operators": Deviation(
        what="the older quantizer knows a fixed list of operators",
        instead="quantizes each operator for which the runtime has an integer kernel that honours "
        "scale and zero point (16x8: PRELU, SELECT_V2, EQUAL ...)",
        why="fewer float islands, so fewer QUANTIZE and DEQUANTIZE",
    ),
    "missing_kernels": Deviation(
        what="writes operators that no runtime prepares or computes rightly: the older quantizer "
        "16x8 SCATTER_ND and SQUARED_DIFFERENCE, PADV2 with a float pad value; the newer int8 "
        "SCATTER_ND, REVERSE_SEQUENCE and MATRIX_DIAG",
        instead="leaves them float; quantizes the pad value like the data",
        why="the file then runs",
    ),
    "uncalibrated": Deviation(
        what="stops where a tensor that it needs has no range (the older quantizer), crashes or "
        "writes a file that does not run where values inside an LSTM have none",
        instead="leaves the operators at that tensor float, with the reason",
        why="a branch that the samples never reached has no ranges, and a calibration made "
        "elsewhere may lack what is inside an LSTM with layer normalization or projection",
    ),
    "float_readers": Deviation(
        what="the older quantizer hands integers to a float operator that stands before the first "
        "integer reader of a graph input or constant",
        instead="puts DEQUANTIZE in front of it, or keeps the constant's float form beside the "
        "other",
        why="the file then prepares, or no longer computes nonsense",
    ),
    "constant_per_use": Deviation(
        what="the older quantizer stores a constant or bias once, as its first reader wants it",
        instead="stores it once for each different way in which it is read",
        why="a bias shared by two layers has two scales, a table that is also a weight two types",
    ),
    "select_scale": Deviation(
        what="the older quantizer gives SELECT the scale of its second operand and copies the "
        "third one's integers whatever their scale",
        instead="requantizes both to the output's range",
        why="the kernel copies integers, so the values would be wrong",
    ),
    "dynamic_weights": Deviation(
        what="the older quantizer crashes on a computed bias, and gives computed filters types and "
        "zero points that convolutions ignore or refuse",
        instead="leaves the operator float",
        why="its values would be wrong, where the file runs at all",
    ),
    "constant_operands": Deviation(
        what="16x8: the older quantizer stores the constant input of MEAN, RELU, TANH and the like "
        "as int8 beside int16 outputs",
        instead="stores it as int16",
        why="the kernels want one type",
    ),
    "zero_scale": Deviation(
        what="the older quantizer gives a channel or tensor of zeros scale 0 or a denormal one",
        instead="gives a channel the largest scale of its tensor, a tensor that of the range "
        "[-1, 1]",
        why="a scale must be positive; kernels abort or overflow on multipliers made with it",
    ),
    "integer_ends": Deviation(
        what="the older quantizer stops where an input or output to be integer is left float",
        instead="puts DEQUANTIZE or QUANTIZE at that end where its range is known",
        why="the caller gets the types that the recipe promises",
    ),
    "sum_range": Deviation(
        what="the older quantizer gives SUM its input's scale, so that sums saturate",
        instead="gives it the range of its output",
        why="the kernel requantizes, and a sum is seldom in the range of its terms",
    ),
    # --- rules A (dialect "mlir") ---
    "raised_weights": Deviation(
        what="raises the only scale of a one-channel weight for a large bias and keeps the "
        "integers of the lower scale",
        instead="derives the integers again from the raised scale",
        why="integers and scale would stand for other weights",
    ),
    "integer_readers": Deviation(
        what="leaves ARG_MAX, LESS and other operators without a float result float when "
        "another reader of the same tensor, or a graph output, stays float",
        instead="makes them integer operators",
        why="they give the same result without a DEQUANTIZE in front",
    ),
    "unreached": Deviation(
        what="leaves an operator float whose input gets its scale by a tie that the work list had "
        "passed before there was one to hand on, as behind a second slice of one tensor",
        instead="hands the scale on to it",
        why="it has an integer kernel and integer neighbours; off, since the converter's file runs",
        default=False,
    ),
    "shared_weights": Deviation(
        what="quantizes a constant that is a weight of one operator and data, or a weight along "
        "another axis, of a second once, as weights of the first",
        instead="quantizes it for each way in which it is read",
        why="kernels take per-channel parameters only where they expect them, and crash elsewhere",
    ),
    "untied_moves": Deviation(
        what="gives the results of REVERSE_V2, ONE_HOT, SPARSE_TO_DENSE, MATRIX_SET_DIAG, UNIQUE "
        "and EMBEDDING_LOOKUP scales of their own",
        instead="ties them to their operands",
        why="the kernels copy integers, so the values would be wrong wherever two scales differ",
    ),
    "zero_divisors": Deviation(
        what="makes DIV integer whatever its divisor's range",
        instead="leaves DIV float where the divisor's range reaches 0, by half a step",
        why="the kernel stops at a divisor of 0, which rounding alone can produce",
    ),
}
