#include "maps.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <new>

namespace nas {

namespace {

// Smaller tensors are the heap's.
constexpr size_t kLeast = size_t(256) << 10;
constexpr size_t kStep = size_t(64) << 10;

std::atomic<bool> kept{true};

class Maps {
 public:
  void* take(size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    // The last that was given back: the caches may have it still.
    auto found = idle_.upper_bound(bytes);
    if (found != idle_.begin() && (--found)->first == bytes) {
      void* memory = found->second;
      idle_.erase(found);
      idle_bytes_ -= bytes;
      use(bytes);
      return memory;
    }
    // Others make room, so that not much more is held than was ever used at one time.
    const size_t most = most_used_ + most_used_ / 8;
    if (used_ + idle_bytes_ + bytes > most) release(used_ + idle_bytes_ + bytes - most);
    void* memory =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    use(bytes);
    return memory;
  }

  void give(void* memory, size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    idle_.emplace(bytes, memory);
    idle_bytes_ += bytes;
    used_ -= bytes;
  }

  MapBytes bytes() {
    const std::lock_guard<std::mutex> lock(mutex_);
    const MapBytes found = {used_, most_since_};
    most_since_ = used_;
    return found;
  }

  void release_all() {
    const std::lock_guard<std::mutex> lock(mutex_);
    release(idle_bytes_);
    most_used_ = used_;
  }

 private:
  void use(size_t bytes) {
    used_ += bytes;
    most_used_ = std::max(most_used_, used_);
    most_since_ = std::max(most_since_, used_);
  }

  // Unmaps the largest that are idle, of these the longest idle first, until so many bytes are
  // given back or none is left.
  void release(size_t bytes) {
    for (size_t done = 0; done < bytes && !idle_.empty();) {
      const auto next = idle_.lower_bound(std::prev(idle_.end())->first);
      munmap(next->second, next->first);
      done += next->first;
      idle_bytes_ -= next->first;
      idle_.erase(next);
    }
  }

  std::mutex mutex_;
  std::multimap<size_t, void*> idle_;
  size_t idle_bytes_ = 0, used_ = 0, most_used_ = 0, most_since_ = 0;
};

// Never destroyed: tensors may outlive it.
Maps& maps() {
  static Maps* all = new Maps();
  return *all;
}

size_t whole_steps(size_t bytes) {
  return (bytes + kStep - 1) / kStep * kStep;
}

}  // namespace

void* take_map(size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
  return nullptr;  // exact sizes, so that every overrun is seen
#endif
  return bytes < kLeast || !kept ? nullptr : maps().take(whole_steps(bytes));
}

void give_map(void* memory, size_t bytes) {
  maps().give(memory, whole_steps(bytes));
}

Tensor new_map(const Tensor& like, IntList sizes, IntList strides) {
  size_t bytes = like.element_size();
  for (const int64_t size : sizes) bytes *= size;
  void* memory = take_map(bytes);
  if (memory == nullptr) return new_strided(like, sizes, strides);
  return torch::stable::from_blob(
      memory, sizes, strides, like.device(), like.scalar_type(),
      [bytes](void* data) { give_map(data, bytes); });
}

Tensor new_map_like(const Tensor& x) {
  if (x.dim() < 3 || !(x.is_contiguous() || is_innermost(x))) return torch::stable::empty_like(x);
  std::vector<int64_t> strides;
  for (int64_t d = 0; d < x.dim(); ++d) strides.push_back(x.stride(d));
  return new_map(x, sizes_of(x), strides);
}

void release_maps() {
  maps().release_all();
}

void keep_maps(bool keep) {
  kept = keep;
}

MapBytes map_bytes() {
  return maps().bytes();
}

}  // namespace nas
