// lsap.cu as a library for the host: KERNEL is the path of the source, this file and the shim make CUDA of C++.

#include "cuda_shim.h"

#include KERNEL

namespace {

struct Launch {
    int columns_per_thread, threads, problems, targets, queries;
    size_t shared_bytes;
    cuda::Order order;
    unsigned seed;
};

template <typename Cost, int COLUMNS = 1>
void run(const Launch& how, const Cost* costs, const long long* sizes, long long* query_of_target, int* statuses) {
    if constexpr (COLUMNS > 3) {
        throw std::runtime_error("no kernel with so many columns a thread is compiled here");
    } else if (how.columns_per_thread == COLUMNS) {
        cuda::launch(how.problems, how.threads, how.shared_bytes, how.order, how.seed, [&] {
            solve<Cost, COLUMNS>(costs, sizes, how.targets, how.queries, query_of_target, statuses);
        });
    } else {
        run<Cost, COLUMNS + 1>(how, costs, sizes, query_of_target, statuses);
    }
}

}  // namespace

// Returns 0, or 1 and a message of at most 255 characters. costs: float or, with is_double, double.
extern "C" int lsap(
    const Launch* how, int is_double, const void* costs, const long long* sizes, long long* query_of_target,
    int* statuses, char* message) {
    try {
        if (is_double) {
            run(*how, static_cast<const double*>(costs), sizes, query_of_target, statuses);
        } else {
            run(*how, static_cast<const float*>(costs), sizes, query_of_target, statuses);
        }
        return 0;
    } catch (const std::exception& error) {
        std::strncpy(message, error.what(), 255);
        message[255] = 0;
        return 1;
    }
}
