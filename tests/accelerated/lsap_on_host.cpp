// lsap.cu as a library for the host: KERNEL is the path of the source, this file and the shim make CUDA of C++.

#include "cuda_shim.h"

#include KERNEL

template <typename Cost, int COLUMNS = 1>
void run(const cuda::Launch& how, int columns_per_thread, void** arguments) {
    if constexpr (COLUMNS > 3) {
        throw std::runtime_error("no kernel with so many columns a thread is compiled here");
    } else if (columns_per_thread == COLUMNS) {
        cuda::run(how, solve<Cost, COLUMNS>, arguments);
    } else {
        run<Cost, COLUMNS + 1>(how, columns_per_thread, arguments);
    }
}

// name: as C++ calls the kernel, "solve<float, 2>".
extern "C" int run_kernel(const cuda::Launch* how, const char* name, void** arguments, char* message) {
    return cuda::reported(message, [&] {
        const std::string types = name;
        const int columns_per_thread = std::stoi(types.substr(types.find(',') + 1));
        if (types.find("double") != std::string::npos) {
            run<double>(*how, columns_per_thread, arguments);
        } else {
            run<float>(*how, columns_per_thread, arguments);
        }
    });
}
