// The module `nas_domains._sampler`: PathSampler for Python, numpy in and out.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <limits>

#include "path_sampler.h"
#include "philox.h"

namespace py = pybind11;

namespace {

// A Python limit: None is no limit, and one beyond 64 bits is the nearest that fits.
int64_t as_limit(const py::object& limit) {
  if (limit.is_none()) return std::numeric_limits<int64_t>::max();
  const auto number = py::reinterpret_steal<py::object>(PyNumber_Index(limit.ptr()));
  if (!number) throw py::error_already_set();
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
  if (overflow != 0) {
    return overflow > 0 ? std::numeric_limits<int64_t>::max()
                        : std::numeric_limits<int64_t>::min();
  }
  return value;
}

py::object as_int(const std::vector<uint64_t>& limbs) {
  std::string bytes;
  for (uint64_t limb : limbs) {
    for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(limb >> (8 * i)));
  }
  return py::type::of(py::int_(0)).attr("from_bytes")(py::bytes(bytes), "little");
}

py::object count(const nas::PathSampler& self, const py::object& limit) {
  return as_int(self.count(as_limit(limit)));
}

double fraction(const nas::PathSampler& self, const py::object& limit) {
  return py::float_(count(self, limit).attr("__truediv__")(count(self, py::none())));
}

py::array_t<int16_t> sample(
    const nas::PathSampler& self, int64_t n, uint64_t seed, const py::object& limit, int threads) {
  if (n < 0) throw py::value_error("sample got n=" + std::to_string(n) + "; use 0 or more.");
  if (threads < 1 || threads > 1024) {
    throw py::value_error("sample got threads=" + std::to_string(threads) + "; use 1 to 1024.");
  }
  const int64_t most = as_limit(limit);
  py::array_t<int16_t> out({n, static_cast<int64_t>(self.choices())});
  int16_t* rows = out.mutable_data();
  py::gil_scoped_release release;
  self.sample(n, seed, most, threads, rows);
  return out;
}

constexpr const char* kClass = R"(
Uniform sampling of architectures under a limit on an additive integer cost, exact and without rejection.

Built once by dynamic programming over the cost; each draw then walks one table.

Args:
    costs: for each choice the cost of each of its options, integers of 0 or more.
    parents: for each choice the index of an earlier choice that decides whether it exists, or -1.
    active: for each choice the options of its parent for which it exists (empty without a parent).
        An absent choice costs 0.
    max_bytes: bound on the table, by default 1 GiB.

Raises:
    ValueError: if the lists do not fit, a cost is negative, or the table would pass `max_bytes`.
)";

constexpr const char* kSample = R"(
Draws n architectures uniformly from those that cost at most `limit`.

Args:
    n: how many.
    seed: 0 to 2**64 - 1. Row i depends on seed, i and limit only.
    limit: the most an architecture may cost; None is no limit.
    threads: how many threads draw; it changes no result.

Returns:
    int16 array [n, choices] of option indices, -1 where a choice is absent.

Raises:
    ValueError: if no architecture costs as little as `limit`.
)";

}  // namespace

PYBIND11_MODULE(_sampler, m) {
  m.doc() = "Exact sampling of architectures under a cost limit.";
  py::class_<nas::PathSampler>(m, "PathSampler", kClass)
      .def(
          py::init<
              nas::PathSampler::Lists, std::vector<int64_t>, nas::PathSampler::Lists, uint64_t>(),
          py::arg("costs"), py::arg("parents") = std::vector<int64_t>{},
          py::arg("active") = nas::PathSampler::Lists{}, py::arg("max_bytes") = uint64_t{1} << 30,
          py::call_guard<py::gil_scoped_release>())
      .def(
          "count", &count, py::arg("limit") = py::none(),
          "Number of architectures that cost at most `limit`, exactly (all of them for None).")
      .def(
          "fraction", &fraction, py::arg("limit") = py::none(),
          "Share of all architectures that cost at most `limit`.")
      .def(
          "sample", &sample, py::arg("n"), py::arg("seed"), py::arg("limit") = py::none(),
          py::arg("threads") = 1, kSample)
      .def_property_readonly("min_cost", &nas::PathSampler::min_cost, "Cost of the cheapest.")
      .def_property_readonly("max_cost", &nas::PathSampler::max_cost, "Cost of the dearest.")
      .def_property_readonly(
          "table_bytes", &nas::PathSampler::table_bytes, "Memory of the table.");
  m.def(
      "philox4x32", &nas::philox4x32, py::arg("counter"), py::arg("key"),
      "Four random words of Philox 4x32-10, for tests against the published vectors.");
}
