// Memory that a thread works in.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>

namespace nas {

// Grows, and is kept by its thread from call to call: fresh memory costs a page fault each 4 KiB.
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(memory_); }

  void* get(size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
    const bool fits = false;  // exact sizes, so that every overrun is seen
#else
    const bool fits = bytes <= size_;
#endif
    if (!fits) {
      release();
      size_ = (bytes + 63) / 64 * 64;
      memory_ = std::aligned_alloc(64, size_);
      if (memory_ == nullptr) {
        size_ = 0;
        throw std::bad_alloc();
      }
    }
    return memory_;
  }

  void release() {
    std::free(memory_);
    memory_ = nullptr;
    size_ = 0;
  }

  // Gives back what only an unusually large map needed.
  void trim() {
    if (size_ > (size_t(8) << 20)) release();
  }

 private:
  void* memory_ = nullptr;
  size_t size_ = 0;
};

}  // namespace nas
