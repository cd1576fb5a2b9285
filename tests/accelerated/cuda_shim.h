// The words of CUDA that the kernels use, for a C++17 compiler without CUDA. `cuda_scheduler.cpp` runs their threads.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

#define __global__
#define __device__
#define __shared__
#define __align__(bytes)
#define __launch_bounds__(...)
#define __syncthreads() cuda::wait_for_block(__LINE__, false)
#define __syncthreads_or(predicate) cuda::wait_for_block(__LINE__, predicate)
#define __shfl_xor_sync(mask, value, offset) cuda::exchange(__COUNTER__, __LINE__, mask, value, offset)
#define __reduce_min_sync(mask, value) cuda::exchange(__COUNTER__, __LINE__, mask, value, cuda::LEAST_OF_ALL)

inline double __longlong_as_double(long long bits) {
    double value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline long long __double_as_longlong(double value) {
    long long bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

// Atomic operations do not race with each other, nor with anything else here, as nothing else goes where they go.
__attribute__((no_sanitize("thread"))) inline int atomicExch(int* address, int value) {
    const int former = *address;
    *address = value;
    return former;
}

// On a device these are for float, too.
using std::exp, std::fabs, std::log, std::log1p, std::max, std::min, std::pow;

struct Index {
    int x, y = 0;
};
extern Index threadIdx, blockIdx, blockDim, gridDim;

namespace cuda {

// Memory that a launch is given, and whether it has been written before.
struct Extent {
    const char* begin;
    size_t bytes;
    bool is_written;
};

// In which order the threads of a block run between two barriers.
enum Order { ASCENDING, DESCENDING, RANDOM_WARPS, RANDOM_THREADS };

struct Launch {
    Index blocks;
    int threads;
    size_t shared_bytes;
    Order order;
    unsigned seed;
    const Extent* memory;
    int extents;
};

// Runs a function, which is a kernel with its arguments, in each thread of a grid of blocks.
void launch(const Launch& how, void (*function)(void*), void* given);

constexpr int LEAST_OF_ALL = -1;  // in place of the offset of a shuffle

bool wait_for_block(int line, bool predicate);
uint64_t exchange_bits(int place, int line, unsigned mask, uint64_t bits, int offset);

template <typename Value>
Value exchange(int place, int line, unsigned mask, Value value, int offset) {
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    bits = exchange_bits(place, line, mask, bits, offset);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// A kernel and where each of its arguments lies, as CUDA's own interface takes them.
template <typename... Parameters>
struct Call {
    void (*kernel)(Parameters...);
    void** arguments;

    // What it reads is none of the kernel's doing.
    template <int... NUMBERS>
    __attribute__((no_sanitize("thread"))) void make(std::integer_sequence<int, NUMBERS...>) const {
        kernel(*static_cast<Parameters*>(arguments[NUMBERS])...);
    }
};

template <typename... Parameters>
void run(const Launch& how, void (*kernel)(Parameters...), void** arguments) {
    Call<Parameters...> call = {kernel, arguments};
    launch(how, [](void* given) {
        static_cast<Call<Parameters...>*>(given)->make(std::make_integer_sequence<int, sizeof...(Parameters)>());
    }, &call);
}

// Returns 0, or 1 and a message of at most 255 characters where the function throws.
template <typename Function>
int reported(char* message, Function function) {
    try {
        function();
        return 0;
    } catch (const std::exception& error) {
        std::strncpy(message, error.what(), 255);
        message[255] = 0;
        return 1;
    }
}

}  // namespace cuda
