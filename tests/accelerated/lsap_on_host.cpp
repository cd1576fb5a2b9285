// lsap.cu as a library for the host: KERNEL is the path of the source, this file and the shim make CUDA of C++.

#include "cuda_shim.h"

#include KERNEL

template <typename Cost>
void run(const cuda::Launch& how, const std::string& shape, void** arguments) {
#define IF_SHAPE_IS(THREADS, COLUMNS) \
    if (shape == #THREADS ", " #COLUMNS) return cuda::run(how, solve<Cost, THREADS, COLUMNS>, arguments);
    IF_SHAPE_IS(32, 1)
    IF_SHAPE_IS(32, 2)
    IF_SHAPE_IS(64, 1)
    IF_SHAPE_IS(96, 1)
#ifndef SMALL
    IF_SHAPE_IS(32, 3)
    IF_SHAPE_IS(32, 4)
    IF_SHAPE_IS(64, 3)
    IF_SHAPE_IS(128, 3)
    IF_SHAPE_IS(256, 3)
#endif
    throw std::runtime_error("no kernel for blocks of this shape is compiled here: " + shape);
}

// name: as C++ calls the kernel, "solve<float, 128, 3>".
extern "C" int run_kernel(const cuda::Launch* how, const char* name, void** arguments, char* message) {
    return cuda::reported(message, [&] {
        const std::string types = name;
        const size_t comma = types.find(',');
        const std::string shape = types.substr(comma + 2, types.size() - comma - 3);
        if (types.find("double") != std::string::npos) {
            run<double>(*how, shape, arguments);
        } else {
            run<float>(*how, shape, arguments);
        }
    });
}
