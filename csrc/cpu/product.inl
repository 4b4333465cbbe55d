// Matrix products on packed panels, in the sizes of a sequence and its layer: sub-blocks of larger
// matrices are read and written where they lie. Included by kernel files, after vector.inl.

// A tile of the result is MR rows and NR columns, whose sums stay in registers.
constexpr int NR = 2 * W;
constexpr int MR = NAS_VECTOR_BYTES == 64 ? 12 : 6;
// Terms of a sum that are added in registers before memory is touched, where both sides are
// packed; and bytes of panels that the second cache holds beside what else is in use.
constexpr int64_t DEPTH = 256;
constexpr int64_t PANEL_BYTES = 160 << 10;

static NAS_INLINE int64_t panels(int64_t columns) {
  return (columns + NR - 1) / NR;
}

// c[i][j] = (ADD: +=) sum over k of a[i * a_row + k * a_col] * b[k * NR + j]; j < columns <= NR,
// or where HALF of a panel is enough, columns = W.
template <int ROWS, bool ADD, bool HALF = false>
static NAS_INLINE void product_tile(
    const real* a, int64_t a_row, int64_t a_col, const real* b, int64_t depth, real* c,
    int64_t c_row, int64_t columns) {
  if constexpr (HALF) {
    vec acc[ROWS] = {};
    for (int64_t k = 0; k < depth; ++k) {
      const vec right = load(b + k * NR);
      const real* p = a + k * a_col;
      each<ROWS>([&](auto i) NAS_LAMBDA {
        constexpr int I = decltype(i)::value;
        acc[I] = fma(splat(p[I * a_row]), right, acc[I]);
      });
    }
    each<ROWS>([&](auto i) NAS_LAMBDA {
      constexpr int I = decltype(i)::value;
      real* to = c + I * c_row;
      store(to, ADD ? load(to) + acc[I] : acc[I]);
    });
    return;
  }
  vec acc[ROWS][2] = {};
  for (int64_t k = 0; k < depth; ++k) {
    const vec b0 = load(b + k * NR), b1 = load(b + k * NR + W);
    const real* p = a + k * a_col;
    each<ROWS>([&](auto i) NAS_LAMBDA {
      constexpr int I = decltype(i)::value;
      const vec value = splat(p[I * a_row]);
      acc[I][0] = fma(value, b0, acc[I][0]);
      acc[I][1] = fma(value, b1, acc[I][1]);
    });
  }
  if (columns == NR) {
    each<ROWS>([&](auto i) NAS_LAMBDA {
      constexpr int I = decltype(i)::value;
      real* to = c + I * c_row;
      store(to, ADD ? load(to) + acc[I][0] : acc[I][0]);
      store(to + W, ADD ? load(to + W) + acc[I][1] : acc[I][1]);
    });
    return;
  }
  each<ROWS>([&](auto i) NAS_LAMBDA {
    constexpr int I = decltype(i)::value;
    real row[NR], *to = c + I * c_row;
    store(row, acc[I][0]);
    store(row + W, acc[I][1]);
    for (int64_t j = 0; j < columns; ++j) to[j] = ADD ? to[j] + row[j] : row[j];
  });
}

// One tile of 1 to MR rows; returns how many.
template <bool ADD, bool HALF = false>
static NAS_INLINE int64_t product_rows(
    int64_t left, const real* a, int64_t a_row, int64_t a_col, const real* b, int64_t depth,
    real* c, int64_t c_row, int64_t columns) {
  if (left >= MR && left != MR + 2) {
    product_tile<MR, ADD, HALF>(a, a_row, a_col, b, depth, c, c_row, columns);
    return MR;
  }
  if (left >= 4) {
    product_tile<4, ADD, HALF>(a, a_row, a_col, b, depth, c, c_row, columns);
    return 4;
  }
  if (left >= 2) {
    product_tile<2, ADD, HALF>(a, a_row, a_col, b, depth, c, c_row, columns);
    return 2;
  }
  product_tile<1, ADD, HALF>(a, a_row, a_col, b, depth, c, c_row, columns);
  return 1;
}

// How the left side lies in memory: rows or columns some way apart, or [panels of MR][depth][MR].
enum class Left { rows, columns, packed };

// c[rows][columns] = (ADD: +=) a times packed b.
template <bool ADD, Left LEFT = Left::rows>
static inline void product(
    const real* a, int64_t apart, int64_t rows, const real* b, int64_t depth, int64_t columns,
    real* c, int64_t c_row) {
  const int64_t panel = depth * NR;
  const int64_t fit = PANEL_BYTES / static_cast<int64_t>(sizeof(real)) / (panel + 1);
  const int64_t block = (fit > 1 ? fit : 1) * NR;
  for (int64_t j0 = 0; j0 < columns; j0 += block) {
    const int64_t j1 = j0 + block < columns ? j0 + block : columns;
    for (int64_t i = 0; i < rows;) {
      const int64_t left = LEFT == Left::packed && rows - i > MR ? MR : rows - i;
      int64_t done = 0;
      for (int64_t j = j0; j < j1; j += NR) {
        const int64_t width = columns - j < NR ? columns - j : NR;
        const real* right = b + j * depth;
        real* to = c + i * c_row + j;
        if constexpr (LEFT == Left::rows) {
          done = product_rows<ADD>(left, a + i * apart, apart, 1, right, depth, to, c_row, width);
        } else if constexpr (LEFT == Left::columns) {
          done = product_rows<ADD>(left, a + i, 1, apart, right, depth, to, c_row, width);
        } else {
          const real* from = a + i / MR * MR * depth + i % MR;
          done = product_rows<ADD>(left, from, 1, MR, right, depth, to, c_row, width);
        }
      }
      i += done;
    }
  }
}

// Packs b[depth][columns], whose rows are of(k), into panels [depth][NR] with zeros to the end.
template <class Rows>
static NAS_INLINE void pack_columns(const Rows& of, int64_t depth, int64_t columns, real* packed) {
  for (int64_t j = 0; j < columns; j += NR) {
    real* to = packed + j * depth;
    const int64_t width = columns - j < NR ? columns - j : NR;
    for (int64_t k = 0; k < depth; ++k, to += NR) {
      const real* from = of(k) + j;
      if (width == NR) {
        store(to, load(from));
        store(to + W, load(from + W));
      } else {
        for (int64_t l = 0; l < NR; ++l) to[l] = l < width ? from[l] : 0;
      }
    }
  }
}

// W vectors as a matrix, transposed.
static NAS_INLINE void transpose(vec (&rows)[W]) {
  const auto stage = [&](auto step) NAS_LAMBDA {
    constexpr int S = decltype(step)::value;
    mask even, odd;
    each<W>([&](auto l) NAS_LAMBDA {
      constexpr int L = decltype(l)::value;
      even[L] = L & S ? W + L - S : L;
      odd[L] = L & S ? W + L : L + S;
    });
    each<W>([&](auto i) NAS_LAMBDA {
      constexpr int I = decltype(i)::value;
      if constexpr ((I & S) == 0) {
        const vec a = rows[I], b = rows[I + S];
        rows[I] = __builtin_shuffle(a, b, even);
        rows[I + S] = __builtin_shuffle(a, b, odd);
      }
    });
  };
  stage(Int<1>{});
  if constexpr (W > 2) stage(Int<2>{});
  if constexpr (W > 4) stage(Int<4>{});
  if constexpr (W > 8) stage(Int<8>{});
}

// Packs the transpose of b[columns][depth], whose rows are of(j), likewise.
template <class Rows>
static NAS_INLINE void pack_rows(const Rows& of, int64_t depth, int64_t columns, real* packed) {
  for (int64_t j = 0; j < columns; j += W) {
    real* to = packed + j / NR * NR * depth + j % NR;
    int64_t k = 0;
    if (j + W <= columns) {
      for (; k + W <= depth; k += W) {
        vec rows[W];
        for (int l = 0; l < W; ++l) rows[l] = load(of(j + l) + k);
        transpose(rows);
        for (int l = 0; l < W; ++l) store(to + (k + l) * NR, rows[l]);
      }
    }
    for (; k < depth; ++k) {
      for (int64_t l = 0; l < W; ++l) to[k * NR + l] = j + l < columns ? of(j + l)[k] : 0;
    }
  }
  // The half of the last panel that no column reaches.
  for (int64_t j = (columns + W - 1) / W * W; j % NR != 0; j += W) {
    real* to = packed + j / NR * NR * depth + j % NR;
    for (int64_t k = 0; k < depth; ++k) store(to + k * NR, vec{});
  }
}

// Packs the transpose of a[depth][rows], whose rows are of(k), into panels [depth][MR].
template <class Rows>
static NAS_INLINE void pack_left(const Rows& of, int64_t depth, int64_t rows, real* packed) {
  for (int64_t i = 0; i < rows; i += MR) {
    real* to = packed + i * depth;
    const int64_t height = rows - i < MR ? rows - i : MR;
    for (int64_t k = 0; k < depth; ++k, to += MR) {
      const real* from = of(k) + i;
      if (height == MR) {
        each<MR>([&](auto l) NAS_LAMBDA { to[decltype(l)::value] = from[decltype(l)::value]; });
      } else {
        for (int64_t l = 0; l < MR; ++l) to[l] = l < height ? from[l] : 0;
      }
    }
  }
}

// c[rows][columns] += sum over the `count` indices r in `at` of a[r][i] * b[r][j]. memory holds
// DEPTH * (rows + columns) reals and a panel of each more.
static inline void product_of_columns(
    const real* a, int64_t a_stride, int64_t rows, const real* b, int64_t b_stride,
    int64_t columns, const int64_t* at, int64_t count, real* c, int64_t c_row, real* memory) {
  real* left = memory;
  real* right = memory + DEPTH * (rows + MR);
  for (int64_t k0 = 0; k0 < count; k0 += DEPTH) {
    const int64_t depth = count - k0 < DEPTH ? count - k0 : DEPTH;
    const int64_t* rows_of = at + k0;
    pack_left([&](int64_t k) NAS_LAMBDA { return a + rows_of[k] * a_stride; }, depth, rows, left);
    pack_columns(
        [&](int64_t k) NAS_LAMBDA { return b + rows_of[k] * b_stride; }, depth, columns, right);
    product<true, Left::packed>(left, MR, rows, right, depth, columns, c, c_row);
  }
}

// The same two with an array of rows, for hosts.
static inline void product_pack_rows(
    const real* const* rows, int64_t depth, int64_t columns, real* packed) {
  pack_rows([&](int64_t j) NAS_LAMBDA { return rows[j]; }, depth, columns, packed);
}

static inline void product_pack_columns(
    const real* const* rows, int64_t depth, int64_t columns, real* packed) {
  pack_columns([&](int64_t k) NAS_LAMBDA { return rows[k]; }, depth, columns, packed);
}

// e^v, to about the rounding of the result; of less than about e^-87 (e^-708) a number as small.
static NAS_INLINE vec exponential(vec v) {
#if NAS_REAL_BYTES == 4
  constexpr real lowest = -87.0f, magic = 12582912.0f, high = 0.693359375f, low = -2.12194440e-4f;
  constexpr int bias = 127, bits = 23;
#else
  constexpr real lowest = -708.0, magic = 6755399441055744.0, high = 6.93145751953125e-1,
                 low = 1.42860682030941723212e-6;
  constexpr int64_t bias = 1023;
  constexpr int bits = 52;
#endif
  v = max(splat(lowest), v);
  // Adding a large number rounds to the nearest whole one, which is then in its last bits.
  const vec rounded = fma(v, splat(real(1.4426950408889634)), splat(magic));
  const vec n = rounded - magic;
  const vec r = fma(n, splat(-low), fma(n, splat(-high), v));
#if NAS_REAL_BYTES == 4
  // Cephes' polynomial (Moshier 1989).
  vec p = splat(1.9875691500e-4f);
  p = fma(p, r, splat(1.3981999507e-3f));
  p = fma(p, r, splat(8.3334519073e-3f));
  p = fma(p, r, splat(4.1665795894e-2f));
  p = fma(p, r, splat(1.6666665459e-1f));
  p = fma(p, r, splat(5.0000001201e-1f));
  p = fma(p * r, r, r) + 1;
#else
  constexpr real factorials[13] = {
      1.0,
      1.0 / 2,
      1.0 / 6,
      1.0 / 24,
      1.0 / 120,
      1.0 / 720,
      1.0 / 5040,
      1.0 / 40320,
      1.0 / 362880,
      1.0 / 3628800,
      1.0 / 39916800,
      1.0 / 479001600,
      1.0 / 6227020800};
  vec p = splat(factorials[12]);
  each<12>([&](auto i) NAS_LAMBDA { p = fma(p, r, splat(factorials[11 - decltype(i)::value])); });
  p = fma(p, r, splat(real(1)));
#endif
  const mask whole = (mask)rounded - (mask)splat(magic);
  return p * (vec)((whole + bias) << bits);
}
