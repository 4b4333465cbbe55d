#include "direct.h"

#include <exception>
#include <vector>

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

PyObject* data_ptr_name() {
  static PyObject* const name = PyUnicode_InternFromString("data_ptr");
  return name;
}

// Where a tensor begins.
int64_t begin_of(PyObject* tensor) {
  PyObject* found = PyObject_CallMethodObjArgs(tensor, data_ptr_name(), nullptr);
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
    f();
  } catch (const PythonError&) {
    return nullptr;
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
    return nullptr;
  }
  Py_RETURN_NONE;
}

// What both passes are told first.
struct Edge {
  edge::Plan plan;
  bool doubles, training;
  double eps;

  explicit Edge(PyObject* const* args) {
    const std::vector<int64_t> x = integers(args[0]), codes = integers(args[1]);
    STD_TORCH_CHECK(
        x.size() == 5 && (x[4] == 4 || x[4] == 8),
        "mixed_edge: sizes are those of x and the bytes of a real, 4 or 8.");
    const edge::Input input{x[0], x[1], x[2], x[3], static_cast<size_t>(x[4])};
    plan = edge::make_plan(input, IntList(codes.data(), codes.size()), integer(args[2]));
    doubles = x[4] == 8;
    training = integer(args[3]) != 0;
    eps = real(args[4]);
    STD_TORCH_CHECK(
        integers(args[8]) == edge::param_sizes(plan), "mixed_edge: a weight has the wrong size.");
  }
};

template <class R>
void forward(const Edge& edge, PyObject* const* args) {
  const edge::ForwardRun<R> run{
      address<const R>(args[5]),
      address<const R>(args[6]),
      addresses<const R>(args[7]),
      edge.training,
      edge.eps,
      address<R>(args[9]),
      address<R>(args[10]),
      address<R>(args[11]),
      address<R>(args[12])};
  const Released released;
  edge::run_forward<R>(edge.plan, run);
}

template <class R>
void backward(const Edge& edge, PyObject* const* args) {
  const edge::BackwardRun<R> run{
      address<const R>(args[12]),
      address<const R>(args[5]),
      address<const R>(args[6]),
      addresses<const R>(args[7]),
      address<const R>(args[9]),
      address<const R>(args[10]),
      edge.training,
      edge.eps,
      address<const R>(args[11]),
      address<R>(args[13]),
      address<R>(args[14]),
      addresses<R>(args[15])};
  STD_TORCH_CHECK(
      run.dparams.size() == run.params.size(), "mixed_edge: a gradient for each weight, or 0.");
  const Released released;
  edge::run_backward<R>(edge.plan, run);
}

template <class R>
void running(PyObject* const* args) {
  const std::vector<R*> means = addresses<R>(args[6]), vars = addresses<R>(args[7]);
  const std::vector<int64_t*> counts = addresses<int64_t>(args[8]);
  STD_TORCH_CHECK(
      vars.size() == means.size() && counts.size() == means.size(),
      "update_running needs a mean, a variance and a count for each batch norm.");
  move_running<R>(
      {means, vars, counts, address<const R>(args[4]), address<const R>(args[5]), integer(args[1]),
       real(args[3]), integer(args[2])});
}

}  // namespace

PyObject* mixed_edge_forward(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return guarded(count, 13, [&] {
    const Edge edge(args);
    edge.doubles ? forward<double>(edge, args) : forward<float>(edge, args);
  });
}

PyObject* mixed_edge_backward(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return guarded(count, 16, [&] {
    const Edge edge(args);
    edge.doubles ? backward<double>(edge, args) : backward<float>(edge, args);
  });
}

PyObject* update_running_at(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return guarded(
      count, 9, [&] { integer(args[0]) == 8 ? running<double>(args) : running<float>(args); });
}

PyObject* unchanged(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 6) {
    PyErr_SetString(
        PyExc_TypeError, "dicts, keys, values, empty dicts, tensors and addresses were expected.");
    return nullptr;
  }
  Py_ssize_t sizes[6];
  for (int i = 0; i < 6; ++i) {
    sizes[i] = PyTuple_Size(args[i]);
    if (sizes[i] < 0) return nullptr;
  }
  if (sizes[1] != sizes[0] || sizes[2] != sizes[0] || sizes[5] != sizes[4]) {
    PyErr_SetString(
        PyExc_ValueError, "each dict needs a key and a value, and each tensor an address.");
    return nullptr;
  }
  for (const int which : {0, 3, 4}) fetch(args[which], sizes[which]);
  fetch_behind(args[0], sizes[0]);
  for (Py_ssize_t i = 0; i < sizes[0]; ++i) {
    PyObject* found =
        PyDict_GetItemWithError(PyTuple_GetItem(args[0], i), PyTuple_GetItem(args[1], i));
    if (found == nullptr && PyErr_Occurred() != nullptr) return nullptr;
    if (found != PyTuple_GetItem(args[2], i)) Py_RETURN_FALSE;
  }
  for (Py_ssize_t i = 0; i < sizes[3]; ++i) {
    const Py_ssize_t size = PyDict_Size(PyTuple_GetItem(args[3], i));
    if (size < 0) return nullptr;
    if (size > 0) Py_RETURN_FALSE;
  }
  try {
    for (Py_ssize_t i = 0; i < sizes[4]; ++i) {
      if (begin_of(PyTuple_GetItem(args[4], i)) != integer(PyTuple_GetItem(args[5], i))) {
        Py_RETURN_FALSE;
      }
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
    PyObject* begin =
        tensor == nullptr ? nullptr : PyObject_CallMethodObjArgs(tensor, data_ptr_name(), nullptr);
    Py_XDECREF(tensor);
    if (begin == nullptr || PyTuple_SetItem(found, i, begin) != 0) {
      Py_DECREF(found);
      return nullptr;
    }
  }
  return found;
}

}  // namespace nas
