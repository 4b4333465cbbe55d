// Memory of cpu/maps.h for callers in Python.
#pragma once

#include <Python.h>

namespace nas {

// (sizes, strides, bits): a tensor of reals of so many bits as a DLPack capsule, its values not
// set; None where torch's memory does as well.
PyObject* new_map_capsule(PyObject*, PyObject* const* args, Py_ssize_t count);

}  // namespace nas
