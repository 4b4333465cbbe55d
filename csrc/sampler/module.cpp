// The module `nas_domains._sampler`: PathSampler for Python, numpy in and out.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "path_sampler.h"
#include "philox.h"

namespace py = pybind11;

namespace {

using nas::Band;
using nas::PathSampler;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// A Python number, infinite where it passes a double.
double as_double(const py::handle& number) {
  double value = PyFloat_AsDouble(number.ptr());
  if (PyErr_Occurred() != nullptr) {
    if (PyErr_ExceptionMatches(PyExc_OverflowError) == 0) throw py::error_already_set();
    PyErr_Clear();
    value = number.attr("__gt__")(0).cast<bool>() ? kInfinity : -kInfinity;
  }
  if (std::isnan(value)) throw py::value_error("A limit is NaN; give it a number or None.");
  return value;
}

// None is no limit, a number the most, and a pair the least and the most.
Band as_band(const py::object& limit) {
  if (limit.is_none()) return {-kInfinity, kInfinity};
  if (!py::isinstance<py::sequence>(limit)) return {-kInfinity, as_double(limit)};
  const auto pair = limit.cast<py::sequence>();
  if (pair.size() != 2) {
    throw py::value_error("A band has two ends; give it (least, most), or one number.");
  }
  const auto end = [&](std::size_t i, double none) {
    return pair[i].is_none() ? none : as_double(pair[i]);
  };
  return {end(0, -kInfinity), end(1, kInfinity)};
}

std::vector<Band> as_bands(
    const PathSampler& self, const py::object& limit, const py::object& second_limit) {
  std::vector<Band> bands{as_band(limit), as_band(second_limit)};
  if (self.costs().size() == 1 && !second_limit.is_none()) {
    throw py::value_error("There is no second cost to limit; give PathSampler one.");
  }
  bands.resize(self.costs().size());
  return bands;
}

py::object as_int(const std::vector<uint64_t>& limbs) {
  std::string bytes;
  for (uint64_t limb : limbs) {
    for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(limb >> (8 * i)));
  }
  return py::type::of(py::int_(0)).attr("from_bytes")(py::bytes(bytes), "little");
}

// As Python would write it: a whole number as an int.
py::object as_number(double value) {
  const py::float_ number(value);
  if (value == std::floor(value)) return py::int_(number);
  return number;
}

std::pair<py::object, py::object> counts(const PathSampler& self, const std::vector<Band>& bands) {
  std::pair<PathSampler::Count, PathSampler::Count> found;
  {
    const py::gil_scoped_release release;
    found = self.count(bands);
  }
  return {as_int(found.first), as_int(found.second)};
}

py::object count(
    const PathSampler& self, const py::object& limit, const py::object& second_limit) {
  const auto bands = as_bands(self, limit, second_limit);
  const auto [least, most] = counts(self, bands);
  if (least.equal(most)) return least;
  return py::make_tuple(least, most);
}

py::object fraction(
    const PathSampler& self, const py::object& limit, const py::object& second_limit) {
  const auto bands = as_bands(self, limit, second_limit);
  const auto [least, most] = counts(self, bands);
  const std::vector<Band> open(bands.size(), Band{-kInfinity, kInfinity});
  const py::object total = counts(self, open).second;
  const py::object low = least.attr("__truediv__")(total), high = most.attr("__truediv__")(total);
  if (low.equal(high)) return low;
  return py::make_tuple(low, high);
}

// The softmax of each row in multiples of 2^-32.
nas::WeightLists as_weights(
    const PathSampler& self, const std::vector<std::vector<double>>& logits) {
  if (logits.size() != self.choices()) {
    throw py::value_error("logits needs a row for each choice.");
  }
  nas::WeightLists weights;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const std::string where = "the logits of choice " + std::to_string(i);
    // A row of an array may be longer than its choice has options.
    if (logits[i].size() < self.options(i)) {
      throw py::value_error(where + " are too few; give it one for each option.");
    }
    const auto end = logits[i].begin() + static_cast<std::ptrdiff_t>(self.options(i));
    const double top = *std::max_element(logits[i].begin(), end);
    double total = 0;
    for (auto logit = logits[i].begin(); logit != end; ++logit) total += std::exp(*logit - top);
    weights.emplace_back();
    for (auto logit = logits[i].begin(); logit != end; ++logit) {
      if (std::isnan(*logit) || std::isinf(top)) {
        throw py::value_error(where + " must be numbers or -inf, not all -inf; mend them.");
      }
      const double weight = std::round(std::exp(*logit - top) / total * 4294967296.0);
      const bool never = std::isinf(*logit);
      weights[i].push_back(never ? 0 : static_cast<uint64_t>(std::max(weight, 1.0)));
    }
  }
  return weights;
}

py::array_t<int16_t> sample(
    const PathSampler& self, int64_t n, uint64_t seed, const py::object& limit,
    const py::object& second_limit, const std::optional<std::vector<std::vector<double>>>& logits,
    uint64_t offset, int threads) {
  if (n < 0) throw py::value_error("sample got n=" + std::to_string(n) + "; use 0 or more.");
  if (threads < 1 || threads > 1024) {
    throw py::value_error("sample got threads=" + std::to_string(threads) + "; use 1 to 1024.");
  }
  const auto bands = as_bands(self, limit, second_limit);
  const nas::WeightLists weights = logits ? as_weights(self, *logits) : nas::WeightLists{};
  py::array_t<int16_t> out({n, static_cast<int64_t>(self.choices())});
  int16_t* rows = out.mutable_data();
  const py::gil_scoped_release release;
  self.sample(n, seed, offset, bands, weights, threads, rows);
  return out;
}

std::unique_ptr<PathSampler> make(
    nas::CostLists costs, std::vector<int64_t> parents, nas::OptionLists active,
    uint64_t max_bytes, std::optional<nas::CostLists> second) {
  std::vector<nas::CostLists> all{std::move(costs)};
  if (second) all.push_back(std::move(*second));
  return std::make_unique<PathSampler>(
      std::move(all), std::move(parents), std::move(active), max_bytes);
}

constexpr const char* kClass = R"(
Sampling and counting of architectures under limits on additive costs.

Draws are exact: uniform, or in proportion to the weights of their options, among the architectures within the limits,
by dynamic programming over the cost. Counts are exact where the costs are whole multiples of a common unit (all sums
then have no rounding) and the table of possible costs fits `max_bytes`; otherwise costs are rounded down to a grid,
counts are intervals that hold the true number, and draws are checked against the true costs and drawn again, which
keeps them exact. The cost of an architecture is the sum over its choices in their order, in float64.

Args:
    costs: for each choice the cost of each of its options, numbers of 0 or more.
    parents: for each choice the index of an earlier choice that decides whether it exists, or -1.
    active: for each choice the options of its parent for which it exists (empty without a parent).
        An absent choice costs 0.
    max_bytes: bound on the table that counts, by default 256 MiB.
    second: a second cost of the same shape, with limits of its own.

Raises:
    ValueError: if the lists do not fit, or a cost is negative or not finite.
)";

constexpr const char* kSample = R"(
Draws n architectures from those within the limits.

Args:
    n: how many.
    seed: 0 to 2**64 - 1. Row i depends on seed, offset + i, limits and logits only.
    limit: the most an architecture may cost, or (least, most); None is no limit.
    second_limit: the same for the second cost.
    logits: a row for each choice. An architecture is drawn in proportion to the product of its options' probabilities,
        the softmax of their rows, each rounded to a multiple of 2**-32 but not to 0; -inf is never drawn. None draws
        uniformly from the architectures. Rows may be longer than a choice has options.
    offset: number of the first row.
    threads: how many threads draw; it changes no result.

Returns:
    int16 array [n, choices] of option indices, -1 where a choice is absent.

Raises:
    ValueError: if no architecture is within the limits, or none of 2**20 draws of one row was.
)";

constexpr const char* kCount = R"(
Number of architectures within the limits (see `sample`): an int, or where counts are not exact and the ends differ
(fewest, most).
)";

}  // namespace

PYBIND11_MODULE(_sampler, m) {
  m.doc() = "Exact sampling of architectures under cost limits.";
  py::class_<PathSampler>(m, "PathSampler", kClass)
      .def(
          py::init(&make), py::arg("costs"), py::arg("parents") = std::vector<int64_t>{},
          py::arg("active") = nas::OptionLists{}, py::arg("max_bytes") = uint64_t{1} << 28,
          py::arg("second") = py::none())
      .def(
          "count", &count, py::arg("limit") = py::none(), py::arg("second_limit") = py::none(),
          kCount)
      .def(
          "fraction", &fraction, py::arg("limit") = py::none(),
          py::arg("second_limit") = py::none(),
          "Share of all architectures within the limits: a float, or (fewest, most) as `count`.")
      .def(
          "sample", &sample, py::arg("n"), py::arg("seed"), py::arg("limit") = py::none(),
          py::arg("second_limit") = py::none(), py::kw_only(), py::arg("logits") = py::none(),
          py::arg("offset") = 0, py::arg("threads") = 1, kSample)
      .def_property_readonly(
          "exact",
          [](const PathSampler& self) {
            const py::gil_scoped_release release;
            return self.exact();
          },
          "Whether counts are exact.")
      .def_property_readonly(
          "min_cost",
          [](const PathSampler& self) { return as_number(self.costs().front().cheapest()); },
          "Cost of the cheapest, of the first cost.")
      .def_property_readonly(
          "max_cost",
          [](const PathSampler& self) { return as_number(self.costs().front().dearest()); },
          "Cost of the dearest, of the first cost.")
      .def_property_readonly(
          "min_second",
          [](const PathSampler& self) { return as_number(self.costs().back().cheapest()); },
          "Cost of the cheapest, of the last cost.")
      .def_property_readonly(
          "states", &PathSampler::states, "How many lists of choices still to be made there are.")
      .def_property_readonly(
          "table_bytes", &PathSampler::table_bytes, "Memory of the tables made so far.");
  m.def(
      "philox4x32", &nas::philox4x32, py::arg("counter"), py::arg("key"),
      "Four random words of Philox 4x32-10, for tests against the published vectors.");
}
