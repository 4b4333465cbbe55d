// The importable module `nas_domains._C`. Importing it registers the kernels; its functions choose
// and report the instruction set. Limited Python API, so one binary serves every Python from 3.10.

#include <Python.h>

#include "cpu/isa.h"
#include "cpu/maps.h"
#include "cpu/multiply_add.h"
#include "direct.h"
#include "map_capsule.h"

namespace {

constexpr nas::Isa kIsas[] = {nas::Isa::portable, nas::Isa::avx2, nas::Isa::avx512};

PyObject* isa(PyObject*, PyObject*) {
  return PyUnicode_FromString(nas::isa_name(nas::active_isa()));
}

PyObject* supported_isas(PyObject*, PyObject*) {
  PyObject* names = PyList_New(0);
  if (names == nullptr) return nullptr;
  for (nas::Isa candidate : kIsas) {
    if (!nas::isa_supported(candidate)) continue;
    PyObject* name = PyUnicode_FromString(nas::isa_name(candidate));
    const bool failed = name == nullptr || PyList_Append(names, name) != 0;
    Py_XDECREF(name);
    if (failed) {
      Py_DECREF(names);
      return nullptr;
    }
  }
  return names;
}

PyObject* set_isa(PyObject*, PyObject* args) {
  const char* name = nullptr;
  if (!PyArg_ParseTuple(args, "s", &name)) return nullptr;
  if (nas::set_isa(name)) Py_RETURN_NONE;
  PyErr_Format(PyExc_ValueError, "This CPU or build has no instruction set '%s'.", name);
  return nullptr;
}

PyObject* multiply_adds(PyObject*, PyObject* args) {
  long long rounds = 0;
  if (!PyArg_ParseTuple(args, "L", &rounds)) return nullptr;
  return PyLong_FromLongLong(nas::multiply_adds(rounds));
}

PyObject* release_maps(PyObject*, PyObject*) {
  nas::release_maps();
  Py_RETURN_NONE;
}

PyObject* keep_maps(PyObject*, PyObject* args) {
  int keep = 0;
  if (!PyArg_ParseTuple(args, "p", &keep)) return nullptr;
  nas::keep_maps(keep != 0);
  Py_RETURN_NONE;
}

PyObject* map_bytes(PyObject*, PyObject*) {
  const nas::MapBytes found = nas::map_bytes();
  return Py_BuildValue(
      "(KK)", static_cast<unsigned long long>(found.now),
      static_cast<unsigned long long>(found.most));
}

using Fast = PyObject* (*)(PyObject*, PyObject* const*, Py_ssize_t);

PyCFunction fast(Fast function) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

PyMethodDef methods[] = {
    {"isa", isa, METH_NOARGS, "Name of the instruction set the CPU kernels use."},
    {"supported_isas", supported_isas, METH_NOARGS, "Names of those this CPU can use."},
    {"set_isa", set_isa, METH_VARARGS, "Makes the CPU kernels use the named instruction set."},
    {"multiply_adds", multiply_adds, METH_VARARGS,
     "Multiplies and adds in registers, so many rounds a thread; the number of operations."},
    {"release_maps", release_maps, METH_NOARGS,
     "Gives back the memory of large tensors that ops returned and no tensor uses."},
    {"keep_maps", keep_maps, METH_VARARGS,
     "Whether large tensors lie in memory of their own from now on; else all are torch's."},
    {"map_bytes", map_bytes, METH_NOARGS,
     "Bytes of it that tensors use, and used at most since the last call."},
    {"new_map", fast(nas::new_map_capsule), METH_FASTCALL,
     "A large tensor in it as a DLPack capsule, or None."},
    {"direct_edge", fast(nas::direct_edge), METH_FASTCALL, "A mixed edge on addresses."},
    {"direct_edge_forward", fast(nas::direct_edge_forward), METH_FASTCALL, "Its forward pass."},
    {"direct_edge_backward", fast(nas::direct_edge_backward), METH_FASTCALL, "Its gradients."},
    {"unchanged", fast(nas::unchanged), METH_FASTCALL,
     "Whether dicts have these objects, tensors begin at these addresses, and others are dense."},
    {"addresses", fast(nas::addresses_of), METH_FASTCALL, "Where tensors begin, as a tuple."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    "_C",
    "Native kernels of nas_domains.",
    -1,
    methods,
    nullptr,
    nullptr,
    nullptr,
    nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__C(void) {
  return PyModule_Create(&module);
}
