#include "direct.h"

#include <exception>
#include <memory>
#include <variant>
#include <vector>

#include "cpu/isa.h"
#include "cpu/mixed_edge/run.h"
#include "cpu/running_statistics.h"

namespace nas {
namespace {

// Python has an error set already.
struct PythonError {};

int64_t integer(PyObject* object) {
  const long long value = PyLong_AsLongLong(object);
  if (value == -1 && PyErr_Occurred() != nullptr) throw PythonError();
  return value;
}

double real(PyObject* object) {
  const double value = PyFloat_AsDouble(object);
  if (value == -1 && PyErr_Occurred() != nullptr) throw PythonError();
  return value;
}

template <class T>
T* address(PyObject* object) {
  return reinterpret_cast<T*>(integer(object));
}

template <class F>
void each(PyObject* tuple, const F& f) {
  const Py_ssize_t n = PyTuple_Size(tuple);
  if (n < 0) throw PythonError();
  for (Py_ssize_t i = 0; i < n; ++i) f(PyTuple_GetItem(tuple, i));
}

std::vector<int64_t> integers(PyObject* tuple) {
  std::vector<int64_t> found;
  each(tuple, [&](PyObject* item) { found.push_back(integer(item)); });
  return found;
}

template <class T>
std::vector<T*> addresses(PyObject* tuple) {
  std::vector<T*> found;
  each(tuple, [&](PyObject* item) { found.push_back(address<T>(item)); });
  return found;
}

// Where a tensor begins.
PyObject* data_ptr(PyObject* tensor) {
  static PyObject* const name = PyUnicode_InternFromString("data_ptr");
  return PyObject_CallMethodObjArgs(tensor, name, nullptr);
}

bool is_dense(PyObject* tensor) {
  static PyObject* const name = PyUnicode_InternFromString("is_contiguous");
  PyObject* found = PyObject_CallMethodObjArgs(tensor, name, nullptr);
  if (found == nullptr) throw PythonError();
  Py_DECREF(found);
  return found == Py_True;
}

int64_t begin_of(PyObject* tensor) {
  PyObject* found = data_ptr(tensor);
  if (found == nullptr) throw PythonError();
  const int64_t begin = PyLong_AsLongLong(found);
  Py_DECREF(found);
  if (begin == -1 && PyErr_Occurred() != nullptr) throw PythonError();
  return begin;
}

// The modules of an edge lie apart, for the most part in cold memory: to wait for one object after
// another takes longer than all that is done with them, so they are fetched together first.
void fetch(PyObject* tuple, Py_ssize_t n) {
  for (Py_ssize_t i = 0; i < n; ++i) __builtin_prefetch(PyTuple_GetItem(tuple, i));
}

// The same of what dicts hold: their keys and values, to which the last words of a dict point.
void fetch_behind(PyObject* dicts, Py_ssize_t n) {
  PyObject* before = nullptr;
  for (Py_ssize_t i = 0; i < n; ++i) {
    PyObject* dict = PyTuple_GetItem(dicts, i);
    if (dict == before || !PyDict_Check(dict)) continue;
    before = dict;
    const char* const* words = reinterpret_cast<const char* const*>(dict);
    for (const int word : {4, 5}) {
      for (int line = 0; line < 4; ++line) __builtin_prefetch(words[word] + 64 * line);
    }
  }
}

// Other Python threads run while it lives.
class Released {
 public:
  Released() : state_(PyEval_SaveThread()) {}
  ~Released() { PyEval_RestoreThread(state_); }
  Released(const Released&) = delete;
  Released& operator=(const Released&) = delete;

 private:
  PyThreadState* state_;
};

// Runs f, of `wanted` arguments, and turns what it throws into errors of Python.
template <class F>
PyObject* guarded(Py_ssize_t count, Py_ssize_t wanted, const F& f) {
  if (count != wanted) {
    PyErr_Format(PyExc_TypeError, "%zd arguments were expected, not %zd.", wanted, count);
    return nullptr;
  }
  try {
    return f();
  } catch (const PythonError&) {
    return nullptr;
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
    return nullptr;
  }
}

// What the two passes of an edge are told but once.
template <class R>
struct Told {
  std::vector<const R*> params;
  Running<R> running;  // of no norms where none tracks
};

struct DirectEdge {
  edge::Input input;
  std::vector<int64_t> codes;
  int64_t stride;
  double eps;
  Isa isa;
  edge::Plan plan;
  std::variant<Told<float>, Told<double>> told;
};

constexpr const char* EDGE = "nas_domains.edge";

void destroy_edge(PyObject* capsule) {
  delete static_cast<DirectEdge*>(PyCapsule_GetPointer(capsule, EDGE));
}

edge::Plan plan_of(const DirectEdge& edge) {
  return edge::make_plan(edge.input, IntList(edge.codes.data(), edge.codes.size()), edge.stride);
}

// Calls f(plan, told, real) for the edge in a capsule.
template <class F>
PyObject* with_edge(PyObject* capsule, const F& f) {
  const auto* edge = static_cast<const DirectEdge*>(PyCapsule_GetPointer(capsule, EDGE));
  if (edge == nullptr) throw PythonError();
  std::visit(
      [&](const auto& told) {
        // A plan is made for an instruction set.
        edge->isa == active_isa() ? f(*edge, edge->plan, told) : f(*edge, plan_of(*edge), told);
      },
      edge->told);
  Py_RETURN_NONE;
}

template <class R>
Told<R> told_of(const DirectEdge& edge, PyObject* const* args) {
  Told<R> told{
      addresses<const R>(args[5]),
      {addresses<R>(args[7]), addresses<R>(args[8]), addresses<int64_t>(args[9]),
       edge.input.channels, real(args[4]), edge.input.batch * edge.plan.shape.out_pixels()}};
  const size_t norms = told.running.means.size();
  STD_TORCH_CHECK(
      (norms == 0 || norms == static_cast<size_t>(edge.plan.norms)) &&
          told.running.vars.size() == norms && told.running.counts.size() == norms,
      "mixed_edge: a running mean, a variance and a count for each batch norm, or none.");
  return told;
}

}  // namespace

PyObject* direct_edge(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return guarded(count, 10, [&] {
    const std::vector<int64_t> x = integers(args[0]);
    STD_TORCH_CHECK(
        x.size() == 5 && (x[4] == 4 || x[4] == 8),
        "mixed_edge: sizes are those of x and the bytes of a real, 4 or 8.");
    auto made = std::make_unique<DirectEdge>();
    made->input = {x[0], x[1], x[2], x[3], static_cast<size_t>(x[4])};
    made->codes = integers(args[1]);
    made->stride = integer(args[2]);
    made->eps = real(args[3]);
    made->isa = active_isa();
    made->plan = plan_of(*made);
    STD_TORCH_CHECK(
        integers(args[6]) == edge::param_sizes(made->plan) &&
            integers(args[5]).size() == integers(args[6]).size(),
        "mixed_edge: a weight has the wrong size.");
    STD_TORCH_CHECK(
        x[0] * made->plan.shape.out_pixels() > 1,
        "mixed_edge: a channel has a single value to take statistics of.");
    if (x[4] == 8) {
      made->told = told_of<double>(*made, args);
    } else {
      made->told = told_of<float>(*made, args);
    }
    PyObject* capsule = PyCapsule_New(made.get(), EDGE, destroy_edge);
    if (capsule == nullptr) throw PythonError();
    made.release();
    return capsule;
  });
}

PyObject* direct_edge_forward(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return guarded(count, 5, [&] {
    return with_edge(
        args[0], [&]<class R>(const DirectEdge& edge, const auto& plan, const Told<R>& told) {
          R* z = address<R>(args[4]);
          R* mean = z + plan.stages.size() * plan.shape.groups * plan.shape.out_map();
          R* var = mean + plan.norms * plan.shape.channels;
          const edge::ForwardRun<R> run{
              address<const R>(args[1]),
              address<const R>(args[2]),
              told.params,
              true,
              edge.eps,
              mean,
              var,
              address<R>(args[3]),
              z};
          const Released released;
          edge::run_forward<R>(plan, run);
          move_running<R>(told.running, mean, var);
        });
  });
}

PyObject* direct_edge_backward(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return guarded(count, 8, [&] {
    return with_edge(
        args[0], [&]<class R>(const DirectEdge& edge, const auto& plan, const Told<R>& told) {
          const R* z = address<const R>(args[4]);
          const R* mean = z + plan.stages.size() * plan.shape.groups * plan.shape.out_map();
          const R* var = mean + plan.norms * plan.shape.channels;
          const edge::BackwardRun<R> run{
              address<const R>(args[1]),
              address<const R>(args[2]),
              address<const R>(args[3]),
              told.params,
              mean,
              var,
              true,
              edge.eps,
              z,
              address<R>(args[5]),
              address<R>(args[6]),
              addresses<R>(args[7])};
          STD_TORCH_CHECK(
              run.dparams.size() == run.params.size(),
              "mixed_edge: a gradient for each weight, or 0.");
          const Released released;
          edge::run_backward<R>(plan, run);
        });
  });
}

PyObject* unchanged(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 6) {
    PyErr_SetString(
        PyExc_TypeError,
        "dicts, keys, values, tensors, addresses and dense tensors were expected.");
    return nullptr;
  }
  Py_ssize_t sizes[6];
  for (int i = 0; i < 6; ++i) {
    sizes[i] = PyTuple_Size(args[i]);
    if (sizes[i] < 0) return nullptr;
  }
  if (sizes[1] != sizes[0] || sizes[2] != sizes[0] || sizes[4] != sizes[3]) {
    PyErr_SetString(
        PyExc_ValueError, "each dict needs a key and a value, and each tensor an address.");
    return nullptr;
  }
  for (const int which : {0, 3}) fetch(args[which], sizes[which]);
  fetch_behind(args[0], sizes[0]);
  for (Py_ssize_t i = 0; i < sizes[0]; ++i) {
    PyObject* found =
        PyDict_GetItemWithError(PyTuple_GetItem(args[0], i), PyTuple_GetItem(args[1], i));
    if (found == nullptr && PyErr_Occurred() != nullptr) return nullptr;
    if (found != PyTuple_GetItem(args[2], i)) Py_RETURN_FALSE;
  }
  try {
    for (Py_ssize_t i = 0; i < sizes[3]; ++i) {
      if (begin_of(PyTuple_GetItem(args[3], i)) != integer(PyTuple_GetItem(args[4], i))) {
        Py_RETURN_FALSE;
      }
    }
    for (Py_ssize_t i = 0; i < sizes[5]; ++i) {
      if (!is_dense(PyTuple_GetItem(args[5], i))) Py_RETURN_FALSE;
    }
  } catch (const PythonError&) {
    return nullptr;
  }
  Py_RETURN_TRUE;
}

PyObject* addresses_of(PyObject*, PyObject* const* args, Py_ssize_t count) {
  const Py_ssize_t n = count == 1 ? PySequence_Size(args[0]) : -1;
  if (n < 0) {
    if (PyErr_Occurred() == nullptr) PyErr_SetString(PyExc_TypeError, "tensors were expected.");
    return nullptr;
  }
  PyObject* found = PyTuple_New(n);
  if (found == nullptr) return nullptr;
  for (Py_ssize_t i = 0; i < n; ++i) {
    PyObject* tensor = PySequence_GetItem(args[0], i);
    PyObject* begin = tensor == nullptr ? nullptr : data_ptr(tensor);
    Py_XDECREF(tensor);
    if (begin == nullptr || PyTuple_SetItem(found, i, begin) != 0) {
      Py_DECREF(found);
      return nullptr;
    }
  }
  return found;
}

}  // namespace nas
