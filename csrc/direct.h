// Functions of nas_domains._C that compute on addresses of memory, for callers in Python that have
// made sure what lies there: a call of an op with some dozens of tensors costs more than a small
// edge takes to compute. nas_domains/ops/direct.py is the only such caller.
#pragma once

#include <Python.h>

namespace nas {

// (sizes, codes, stride, eps, momentum, params, numbers, means, vars, counts): a mixed edge in
// training, for the functions below. Sizes are those of x and the bytes of a real; params, means,
// vars and counts are addresses, the last three of running statistics or empty; numbers how many
// reals lie at the params.
PyObject* direct_edge(PyObject*, PyObject* const* args, Py_ssize_t count);

// (edge, x, w, y, kept): the forward pass, which also moves the running statistics. Kept are z and
// the mean and the variance of each norm, one after another.
PyObject* direct_edge_forward(PyObject*, PyObject* const* args, Py_ssize_t count);

// (edge, g, x, w, kept, dx, dw, dparams), the last three 0 where they are not wanted.
PyObject* direct_edge_backward(PyObject*, PyObject* const* args, Py_ssize_t count);

// (dicts, keys, values, tensors, addresses, dense): whether each dict has its value under its key,
// the same object, the tensors begin at their addresses, and the last ones are dense.
PyObject* unchanged(PyObject*, PyObject* const* args, Py_ssize_t count);

// (tensors): the addresses at which they begin.
PyObject* addresses_of(PyObject*, PyObject* const* args, Py_ssize_t count);

}  // namespace nas
