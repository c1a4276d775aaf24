"""What happens in the units of a network, row by row: gates, states, sums of exponentials.

Matrix products are the library's; these loops do all the rest in one pass over its results. PyTorch
computes a cell in ten passes, and a log-sum-exp in four.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compiled import float_of_bits, vector_inline, vector_kernel

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]

f32: Any = np.float32
i32: Any = np.int32

# exp(r) within a twentieth of the last place for |r| <= ln(2) / 2, and ln(2) in two parts whose
# first has few bits, so that multiplying it by a small whole number is exact (Cephes, expf).
_C0, _C1, _C2 = f32(1.9875691500e-4), f32(1.3981999507e-3), f32(8.3334519073e-3)
_C3, _C4, _C5 = f32(4.1665795894e-2), f32(1.6666665459e-1), f32(5.0000001201e-1)
_LN2_HIGH, _LN2_LOW, _LOG2_E = f32(0.693359375), f32(-2.12194440e-4), f32(1.44269504)
_LOWEST, _HIGHEST = f32(-87.0), f32(88.0)
_ONE, _TWO, _HALF = f32(1), f32(2), f32(0.5)


@vector_inline
def exp32(x: Any) -> Any:
    """The exponential of a float32 within -87 and 88, to 1.2e-7 of itself."""
    x = min(max(x, _LOWEST), _HIGHEST)
    n = np.floor(x * _LOG2_E + _HALF)
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    p = ((((_C0 * r + _C1) * r + _C2) * r + _C3) * r + _C4) * r + _C5
    p = p * r * r + r + _ONE
    return p * float_of_bits((i32(n) + i32(127)) << i32(23))


@vector_inline
def _sigmoid(x: Any) -> Any:
    return _ONE / (_ONE + exp32(-x))


@vector_inline
def _tanh(x: Any) -> Any:
    return _TWO / (_ONE + exp32(-_TWO * x)) - _ONE


@vector_kernel
def lstm_rows(
    recurrent: Floats,  # (parents, 4 * units) what each parent's output adds to the gates
    recurrent_rows: Indices,  # (rows,) in recurrent
    inputs: Floats,  # (any, 4 * units) what the layer's inputs add, biases included
    input_rows: Indices,  # (rows,) in inputs
    cells_before: Floats,  # (any, units)
    parents: Indices,  # (rows,) in cells_before
    outputs: Floats,  # (rows, units) filled in
    cells: Floats,  # (rows, units) filled in
) -> None:
    """One step of an LSTM; gates in PyTorch's order: input, forget, cell, output."""
    units = cells.shape[1]
    for row in range(cells.shape[0]):
        a, b = recurrent[recurrent_rows[row]], inputs[input_rows[row]]
        before = cells_before[parents[row]]
        for j in range(units):
            i = _sigmoid(a[j] + b[j])
            f = _sigmoid(a[units + j] + b[units + j])
            g = _tanh(a[2 * units + j] + b[2 * units + j])
            o = _sigmoid(a[3 * units + j] + b[3 * units + j])
            cell = f * before[j] + i * g
            cells[row, j] = cell
            outputs[row, j] = o * _tanh(cell)


@vector_kernel
def gru_rows(
    recurrent: Floats,  # (parents, 3 * units)
    recurrent_rows: Indices,
    recurrent_bias: Floats,  # (units,) of the new gate, which the reset gate multiplies
    inputs: Floats,  # (any, 3 * units)
    input_rows: Indices,
    outputs_before: Floats,  # (any, units)
    parents: Indices,
    outputs: Floats,  # (rows, units) filled in
) -> None:
    """One step of a GRU; gates in PyTorch's order: reset, update, new."""
    units = outputs.shape[1]
    for row in range(outputs.shape[0]):
        a, b = recurrent[recurrent_rows[row]], inputs[input_rows[row]]
        before = outputs_before[parents[row]]
        for j in range(units):
            r = _sigmoid(a[j] + b[j])
            z = _sigmoid(a[units + j] + b[units + j])
            n = _tanh(b[2 * units + j] + r * (a[2 * units + j] + recurrent_bias[j]))
            outputs[row, j] = n + z * (before[j] - n)


@vector_kernel
def tanh_rows(
    recurrent: Floats,  # (parents, units)
    recurrent_rows: Indices,
    inputs: Floats,  # (any, units)
    input_rows: Indices,
    outputs: Floats,  # (rows, units) filled in
) -> None:
    """One step of an Elman network with tanh."""
    for row in range(outputs.shape[0]):
        a, b = recurrent[recurrent_rows[row]], inputs[input_rows[row]]
        for j in range(outputs.shape[1]):
            outputs[row, j] = _tanh(a[j] + b[j])


@vector_kernel
def relu_rows(
    recurrent: Floats,  # (parents, units)
    recurrent_rows: Indices,
    inputs: Floats,  # (any, units)
    input_rows: Indices,
    outputs: Floats,  # (rows, units) filled in
) -> None:
    """One step of an Elman network with max(0, x)."""
    for row in range(outputs.shape[0]):
        a, b = recurrent[recurrent_rows[row]], inputs[input_rows[row]]
        for j in range(outputs.shape[1]):
            outputs[row, j] = max(a[j] + b[j], f32(0))


@vector_kernel
def sum_exponentials(
    products: Floats,  # (rows, columns) logits before their bias
    bias: Floats,  # (columns,)
    maxima: Floats,  # (rows,) filled in: the largest logit of each row
    sums: Floats,  # (rows,) filled in: the sum of exp(logit - maximum)
) -> None:
    """What a tile of logits contributes to the log-sum-exp of its rows."""
    for row in range(products.shape[0]):
        line = products[row]
        largest = line[0] + bias[0]
        for j in range(line.size):
            largest = max(largest, line[j] + bias[j])
        total = f32(0)
        for j in range(line.size):
            total += exp32(line[j] + bias[j] - largest)
        maxima[row] = largest
        sums[row] = total


@vector_kernel
def products_of_pairs(
    left: Floats,  # (any, width)
    left_rows: Indices,  # (pairs,)
    right: Floats,  # (any, width)
    right_rows: Indices,  # (pairs,) negative: left out
    result: NDArray[np.float64],  # (pairs,) filled in
) -> None:
    """The dot products of some rows of one matrix with some of another."""
    for pair in range(result.size):
        if right_rows[pair] < 0:
            continue
        a, b = left[left_rows[pair]], right[right_rows[pair]]
        total = f32(0)
        for j in range(a.size):
            total += a[j] * b[j]
        result[pair] = total


@vector_kernel
def subtract_rows(values: Floats, bias: Floats, amounts: NDArray[np.float64]) -> None:
    """Turn logits before their bias into log-probabilities, given the log-sum-exp of each row."""
    for row in range(values.shape[0]):
        amount = f32(amounts[row])
        for j in range(values.shape[1]):
            values[row, j] += bias[j] - amount
