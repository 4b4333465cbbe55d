#include "map_capsule.h"

#include <cstdint>
#include <memory>
#include <new>

#include "cpu/maps.h"

namespace nas {
namespace {

constexpr Py_ssize_t kMostDims = 8;

// As DLPack 0.x lays a tensor out (https://github.com/dmlc/dlpack), which does not change; torch's
// header of it is not for a module that uses the stable ABI alone.
struct Managed {
  void* data;
  int32_t device_type, device_id;
  int32_t dims;
  uint8_t type_code, type_bits;
  uint16_t type_lanes;
  int64_t *sizes, *strides;
  uint64_t byte_offset;
  void* owner;
  void (*deleter)(Managed*);
};

constexpr int32_t kCpu = 1;
constexpr uint8_t kReal = 2;

// A tensor that owns its memory.
struct Map {
  Managed managed{};
  int64_t sizes[kMostDims]{}, strides[kMostDims]{};
  size_t bytes = 0;
};

void destroy(Managed* managed) {
  auto* map = static_cast<Map*>(managed->owner);
  give_map(managed->data, map->bytes);
  delete map;
}

// A capsule that a tensor was made of has another name.
void destroy_unused(PyObject* capsule) {
  if (!PyCapsule_IsValid(capsule, "dltensor")) return;
  destroy(static_cast<Managed*>(PyCapsule_GetPointer(capsule, "dltensor")));
}

// Reads a tuple of n integers that are not negative; false with an error of Python set.
bool read(PyObject* tuple, Py_ssize_t n, int64_t* found) {
  for (Py_ssize_t i = 0; i < n; ++i) {
    PyObject* item = PyTuple_GetItem(tuple, i);
    found[i] = item == nullptr ? -1 : PyLong_AsLongLong(item);
    if (found[i] >= 0) continue;
    if (PyErr_Occurred() == nullptr) PyErr_SetString(PyExc_ValueError, "a size is negative.");
    return false;
  }
  return true;
}

// Bytes from the first real to the last; -1 where these are more than can be counted.
int64_t bytes_of(const Map& map, Py_ssize_t dims, int64_t each) {
  int64_t reals = 1, step = 0;
  for (Py_ssize_t d = 0; d < dims; ++d) {
    if (map.sizes[d] == 0) return 0;
    if (__builtin_mul_overflow(map.sizes[d] - 1, map.strides[d], &step) ||
        __builtin_add_overflow(reals, step, &reals)) {
      return -1;
    }
  }
  return __builtin_mul_overflow(reals, each, &reals) ? -1 : reals;
}

PyObject* capsule_of(PyObject* sizes, PyObject* strides, Py_ssize_t dims, int64_t each) {
  auto map = std::make_unique<Map>();
  if (!read(sizes, dims, map->sizes) || !read(strides, dims, map->strides)) return nullptr;
  const int64_t bytes = bytes_of(*map, dims, each);
  if (bytes < 0) return PyErr_NoMemory();
  map->bytes = static_cast<size_t>(bytes);
  void* memory = take_map(map->bytes);
  if (memory == nullptr) Py_RETURN_NONE;
  map->managed = {
      memory,
      kCpu,
      0,
      static_cast<int32_t>(dims),
      kReal,
      static_cast<uint8_t>(8 * each),
      1,
      map->sizes,
      map->strides,
      0,
      map.get(),
      destroy};
  PyObject* capsule = PyCapsule_New(&map->managed, "dltensor", destroy_unused);
  if (capsule == nullptr) {
    give_map(memory, map->bytes);
    return nullptr;
  }
  map.release();
  return capsule;
}

}  // namespace

PyObject* new_map_capsule(PyObject*, PyObject* const* args, Py_ssize_t count) {
  const bool told = count == 3 && PyTuple_Check(args[0]) && PyTuple_Check(args[1]);
  const Py_ssize_t dims = told ? PyTuple_Size(args[0]) : -1;
  const long long bits = told ? PyLong_AsLongLong(args[2]) : -1;
  if (PyErr_Occurred() != nullptr) return nullptr;
  if (dims < 0 || dims > kMostDims || PyTuple_Size(args[1]) != dims ||
      (bits != 32 && bits != 64)) {
    PyErr_SetString(PyExc_TypeError, "sizes, as many strides, and 32 or 64 bits were expected.");
    return nullptr;
  }
  try {
    return capsule_of(args[0], args[1], dims, bits / 8);
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
}

}  // namespace nas
