// Between tensors in channels-last and maps in lanes, and what both passes share.

// Reals are added up about this many at a time, then in double.
constexpr int64_t RUN = 256;

static NAS_INLINE void add_lanes(double* to, vec sum) {
  for (int64_t l = 0; l < W; ++l) to[l] += sum[l];
}

// The end of the output rows from h on that make a run.
static NAS_INLINE int64_t rows_of_run(const edge::Shape& s, int64_t h) {
  const int64_t end = h + (s.out_width < RUN ? RUN / s.out_width : 1);
  return end < s.out_height ? end : s.out_height;
}

// Images that group has.
static inline int64_t images(const edge::Shape& s, int64_t group) {
  return group == s.groups - 1 ? s.pack - s.missing() : s.pack;
}

// Calls copy(tensor offset, map offset, n) for each run of n neighbouring channels of a group. All
// images of a pixel in turn: their lanes share a line of the cache.
template <class F>
static NAS_INLINE void for_runs(
    const edge::Shape& s, int64_t group, int64_t pixels, const F& copy) {
  const int64_t present = images(s, group), size = pixels * s.channels;
  for (int64_t px = 0; px < pixels; ++px) {
    for (int64_t image = 0; image < present; ++image) {
      const int64_t from = (group * s.pack + image) * size + px * s.channels;
      const int64_t to = px * LANES + image * s.channels;
      for (int64_t b = 0; b < s.blocks; ++b) {
        const int64_t left = s.channels - b * LANES;
        copy(from + b * LANES, to + b * pixels * LANES, left < LANES ? left : LANES);
      }
    }
  }
}

// The same for a group whose images, of CHANNELS channels each, fill one block: copy(tensor
// offset, map offset).
template <int CHANNELS, class F>
static NAS_INLINE void for_images(int64_t group, int64_t pixels, const F& copy) {
  constexpr int IMAGES = LANES / CHANNELS;
  const int64_t size = pixels * CHANNELS, first = group * IMAGES * size;
  for (int64_t px = 0; px < pixels; ++px) {
    each<IMAGES>([&](auto i) NAS_LAMBDA {
      constexpr int IMAGE = decltype(i)::value;
      copy(first + IMAGE * size + px * CHANNELS, px * LANES + IMAGE * CHANNELS);
    });
  }
}

// Calls f(Int<channels>{}) where the images of a group are whole blocks of 4 or 8 channels.
template <class F>
static NAS_INLINE bool with_images(const edge::Shape& s, int64_t group, const F& f) {
  if (images(s, group) != s.pack) return false;
  if (s.channels == 4) {
    f(Int<4>{});
  } else if (s.channels == 8) {
    f(Int<8>{});
  } else {
    return false;
  }
  return true;
}

static void to_map(
    const edge::Shape& s, int64_t group, int64_t pixels, const real* tensor, real* map) {
  const bool done = with_images(s, group, [&](auto c) {
    constexpr int CHANNELS = decltype(c)::value;
    for_images<CHANNELS>(group, pixels, [&](int64_t t, int64_t m) NAS_LAMBDA {
      __builtin_memcpy(map + m, tensor + t, CHANNELS * sizeof(real));
    });
  });
  if (done) return;
  for (int64_t i = 0; i < s.lanes() * pixels; ++i) map[i] = 0;
  for_runs(s, group, pixels, [&](int64_t t, int64_t m, int64_t n) NAS_LAMBDA {
    for (int64_t i = 0; i < n; ++i) map[m + i] = tensor[t + i];
  });
}

static void from_map(
    const edge::Shape& s, int64_t group, int64_t pixels, const real* map, real* tensor) {
  const bool done = with_images(s, group, [&](auto c) {
    constexpr int CHANNELS = decltype(c)::value;
    for_images<CHANNELS>(group, pixels, [&](int64_t t, int64_t m) NAS_LAMBDA {
      __builtin_memcpy(tensor + t, map + m, CHANNELS * sizeof(real));
    });
  });
  if (done) return;
  for_runs(s, group, pixels, [&](int64_t t, int64_t m, int64_t n) NAS_LAMBDA {
    for (int64_t i = 0; i < n; ++i) tensor[t + i] = map[m + i];
  });
}

// A group's values where they lie: those of block b and pixel px at `at + b * block + px * pixel`.
struct View {
  const real* at;
  int64_t block, pixel;
};

// Maps that are read or written soon: fetched into the cache a few pixels at a time, while there
// is something to compute. A burst of fetches would be waited for.
struct Ahead {
  View view[2];  // of `blocks` blocks each; none where `at` is null
  int64_t blocks;
  const real* later;  // what is read once this map is done, as much as a map; null for none

  // Into the second cache, as more comes before it.
  template <int N>
  NAS_INLINE void fetch_later(int64_t px) const {
    if (later == nullptr) return;
    const real* line = later + px * blocks * LANES;
    for (int64_t b = 0; b < blocks; ++b) {
      each<N>([&](auto j)
                  NAS_LAMBDA { __builtin_prefetch(line + decltype(j)::value * LANES, 0, 2); });
      line += N * LANES;
    }
  }

  template <int N>
  NAS_INLINE void fetch(int64_t px) const {
    for (const View& v : view) {
      if (v.at == nullptr) continue;
      const real* from = v.at + px * v.pixel;
      for (int64_t b = 0; b < blocks; ++b, from += v.block) {
        each<N>([&](auto j) NAS_LAMBDA {
          const real* line = from + decltype(j)::value * v.pixel;
          __builtin_prefetch(line);
          if constexpr (sizeof(real) == 8) __builtin_prefetch(line + LANES / 2);
        });
      }
    }
  }
};

static NAS_INLINE View view_of_map(const real* map, int64_t pixels) {
  return {map, pixels * LANES, LANES};
}

// Whether a tensor in channels-last can be read in blocks of LANES as it is.
static NAS_INLINE bool in_blocks(const edge::Shape& s) {
  return s.channels % LANES == 0;
}

// A group of a tensor, as it lies there or copied into a map in `memory`.
static NAS_INLINE View
view_of(const edge::Shape& s, int64_t group, int64_t pixels, const real* tensor, real* memory) {
  if (in_blocks(s)) return {tensor + group * pixels * s.channels, LANES, s.channels};
  to_map(s, group, pixels, tensor, memory);
  return view_of_map(memory, pixels);
}

static void relu_map(const edge::Shape& s, View from, int64_t pixels, real* to) {
  for (int64_t b = 0; b < s.blocks; ++b) {
    for (int64_t px = 0; px < pixels; ++px) {
      for (int64_t v = 0; v < LANES; v += W) {
        const vec x = load(from.at + b * from.block + px * from.pixel + v);
        store(to + (b * pixels + px) * LANES + v, relu(x));
      }
    }
  }
}

// u = relu(scale * z + bias), with scale and bias a lane.
static void normed_relu(
    const edge::Shape& s, const real* z, const real* scale, const real* bias, real* u) {
  const int64_t pixels = s.out_pixels();
  for (int64_t b = 0; b < s.blocks; ++b) {
    for (int64_t v = 0; v < LANES; v += W) {
      const vec a = load(scale + b * LANES + v), c = load(bias + b * LANES + v);
      for (int64_t px = 0; px < pixels; ++px) {
        const int64_t at = (b * pixels + px) * LANES + v;
        store(u + at, relu(fma(a, load(z + at), c)));
      }
    }
  }
}

// What a group's stage reads and writes.
static NAS_INLINE real* z_of(
    const edge::Args<real>& a, const edge::Scratch<real>& scratch, int64_t stage, int64_t group) {
  const int64_t map = a.shape.out_map();
  return a.z != nullptr ? a.z + (stage * a.shape.groups + group) * map : scratch.z + stage * map;
}

// The first stage behind `stage` of a kind: those that read x, or those that read the stage
// before; -1 for none.
static NAS_INLINE int64_t next_stage(const edge::Args<real>& a, int64_t stage, bool first) {
  for (int64_t i = stage + 1; i < a.stage_count; ++i) {
    if (a.stages[i].first == first) return i;
  }
  return -1;
}

// The map that the next stage of the same kind writes or reads, of this group or the next, less
// `before` stages; null for none.
static NAS_INLINE real* next_z(
    const edge::Args<real>& a, const edge::Scratch<real>& scratch, int64_t stage, int64_t group,
    int64_t before = 0) {
  const bool first = a.stages[stage].first;
  const int64_t next = next_stage(a, stage, first);
  if (next >= 0) return z_of(a, scratch, next - before, group);
  if (a.z == nullptr || group + 1 == a.shape.groups) return nullptr;
  return z_of(a, scratch, next_stage(a, -1, first) - before, group + 1);
}

// Rows [top, top + rows) of what the pointwise convolution of a stage reads, from its input u:
// [taps * blocks][rows * out_width] pixels, blocks `stride` apart.
static void gather(
    const edge::Args<real>& a, int64_t stage, const real* u, int64_t top, int64_t rows, real* out,
    int64_t stride) {
  const edge::Shape& s = a.shape;
  const edge::Stage& t = a.stages[stage];
  const int64_t height = t.first ? s.height : s.out_height;
  const int64_t width = t.first ? s.width : s.out_width;
  for (int64_t b = 0; b < s.blocks; ++b) {
    const real* in = u + b * height * width * LANES;
    if (t.separable) {
      const real* weight = a.depthwise[stage] + b * t.kernel * t.kernel * LANES;
      with_window(t, [&](auto k, auto d, auto st) {
        for (int64_t h = 0; h < rows; ++h) {
          depthwise_row<decltype(k)::value, decltype(d)::value, decltype(st)::value>(
              in, height, width, top + h, weight, out + b * stride + h * s.out_width * LANES,
              a.out_tiling);
        }
      });
      continue;
    }
    for (int64_t tap = 0; tap < t.taps; ++tap) {
      for (int64_t h = 0; h < rows; ++h) {
        const int64_t row = (top + h) * t.stride + t.rows[tap];
        real* to = out + (tap * s.blocks + b) * stride + h * s.out_width * LANES;
        for (int64_t j = 0; j < s.out_width; ++j) {
          const int64_t column = j * t.stride + t.cols[tap];
          const bool inside = row >= 0 && row < height && column >= 0 && column < width;
          for (int64_t v = 0; v < LANES; v += W) {
            store(
                to + j * LANES + v,
                inside ? load(in + (row * width + column) * LANES + v) : vec{});
          }
        }
      }
    }
  }
}
