// Functions of nas_domains._C that compute on addresses of memory, for callers in Python that have
// made sure what lies there: a call of an op with some dozens of tensors costs more than a small
// edge takes to compute. nas_domains/ops/direct.py is the only such caller.
#pragma once

#include <Python.h>

namespace nas {

// (sizes, codes, stride, training, eps, x, w, params, numbers, mean, var, y, z), where sizes are
// those of x and the bytes of a real, params addresses, and numbers how many reals lie there.
PyObject* mixed_edge_forward(PyObject*, PyObject* const* args, Py_ssize_t count);

// (sizes, codes, stride, training, eps, x, w, params, numbers, mean, var, z, g, dx, dw, dparams),
// the last three 0 where they are not wanted.
PyObject* mixed_edge_backward(PyObject*, PyObject* const* args, Py_ssize_t count);

// (bytes, channels, values, momentum, mean, var, means, vars, counts): running statistics as
// update_running moves them.
PyObject* update_running_at(PyObject*, PyObject* const* args, Py_ssize_t count);

// (dicts, keys, values, empty, tensors, addresses): whether each dict has its value under its key,
// the same object, nothing is in the empty ones, and the tensors begin at their addresses.
PyObject* unchanged(PyObject*, PyObject* const* args, Py_ssize_t count);

// (tensors): the addresses at which they begin.
PyObject* addresses_of(PyObject*, PyObject* const* args, Py_ssize_t count);

}  // namespace nas
