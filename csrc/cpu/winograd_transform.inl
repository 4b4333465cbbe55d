// The transforms of Winograd's F(2, 3). Included by winograd.inl.

// The transforms along one axis (Lavin and Gray 2016), IN values to OUT.
struct OfInput {
  static constexpr int IN = 4, OUT = 4;
  static NAS_INLINE void apply(const vec* d, vec* v) {
    v[0] = d[0] - d[2];
    v[1] = d[1] + d[2];
    v[2] = d[2] - d[1];
    v[3] = d[1] - d[3];
  }
};

struct OfKernel {
  static constexpr int IN = 3, OUT = 4;
  static NAS_INLINE void apply(const vec* k, vec* v) {
    const vec half = splat(real(0.5)), ends = k[0] + k[2];
    v[0] = k[0];
    v[1] = half * (ends + k[1]);
    v[2] = half * (ends - k[1]);
    v[3] = k[2];
  }
};

struct ToOutput {
  static constexpr int IN = 4, OUT = 2;
  static NAS_INLINE void apply(const vec* m, vec* y) {
    y[0] = m[0] + m[1] + m[2];
    y[1] = m[1] - m[2] - m[3];
  }
};

// The transposes of the last two.
struct OfGradient {
  static constexpr int IN = 2, OUT = 4;
  static NAS_INLINE void apply(const vec* g, vec* v) {
    v[0] = g[0];
    v[1] = g[0] + g[1];
    v[2] = g[0] - g[1];
    v[3] = -g[1];
  }
};

struct ToKernel {
  static constexpr int IN = 4, OUT = 3;
  static NAS_INLINE void apply(const vec* s, vec* k) {
    const vec half = splat(real(0.5));
    k[0] = s[0] + half * (s[1] + s[2]);
    k[1] = half * (s[1] - s[2]);
    k[2] = half * (s[1] + s[2]) + s[3];
  }
};

// A transform along N axes: value get(i) of IN^N, the last axis fastest, to put(o, value).
template <class Map, class Get, class Put>
static NAS_INLINE void along_line(const Get& get, const Put& put) {
  vec in[Map::IN], out[Map::OUT];
  each<Map::IN>([&](auto i) NAS_LAMBDA { in[decltype(i)::value] = get(decltype(i)::value); });
  Map::apply(in, out);
  each<Map::OUT>([&](auto o) NAS_LAMBDA { put(decltype(o)::value, out[decltype(o)::value]); });
}

template <class Map, class Get, class Put>
static NAS_INLINE void along_plane(const Get& get, const Put& put) {
  vec lines[Map::IN][Map::OUT];
  each<Map::IN>([&](auto i) NAS_LAMBDA {
    constexpr int I = decltype(i)::value;
    along_line<Map>(
        [&](int j) NAS_LAMBDA { return get(I * Map::IN + j); },
        [&](int o, vec value) NAS_LAMBDA { lines[I][o] = value; });
  });
  each<Map::OUT>([&](auto j) NAS_LAMBDA {
    constexpr int J = decltype(j)::value;
    along_line<Map>(
        [&](int i) NAS_LAMBDA { return lines[i][J]; },
        [&](int o, vec value) NAS_LAMBDA { put(o * Map::OUT + J, value); });
  });
}

template <int N, class Map, class Get, class Put>
static NAS_INLINE void transformed(const Get& get, const Put& put) {
  if constexpr (N == 1) {
    along_line<Map>(get, put);
  } else if constexpr (N == 2) {
    along_plane<Map>(get, put);
  } else {
    constexpr int BEFORE = Map::IN * Map::IN, AFTER = Map::OUT * Map::OUT;
    vec planes[Map::IN][AFTER];
    for (int i = 0; i < Map::IN; ++i) {
      along_plane<Map>(
          [&](int j) NAS_LAMBDA { return get(i * BEFORE + j); },
          [&](int o, vec value) NAS_LAMBDA { planes[i][o] = value; });
    }
    for (int j = 0; j < AFTER; ++j) {
      along_line<Map>(
          [&](int i) NAS_LAMBDA { return planes[i][j]; },
          [&](int o, vec value) NAS_LAMBDA { put(o * AFTER + j, value); });
    }
  }
}

static constexpr int power(int base, int exponent) {
  return exponent == 0 ? 1 : base * power(base, exponent - 1);
}
