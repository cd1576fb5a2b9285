// formulas.cu and criterion.cu as a library for the host: KERNEL is the path of both in one file, this file and the shim
// make CUDA of C++.

#include "cuda_shim.h"

#include KERNEL

template <typename Real, int DIALECT>
void run(const cuda::Launch& how, const std::string& kernel, void** arguments) {
    if (kernel == "costs") cuda::run(how, costs<Real, DIALECT>, arguments);
    if (kernel == "losses") cuda::run(how, losses<Real, DIALECT>, arguments);
    if (kernel == "totals") cuda::run(how, totals<Real, DIALECT>, arguments);
    if (kernel == "gradients") cuda::run(how, gradients<Real, DIALECT>, arguments);
}

// name: as C++ calls the kernel, "costs<float, SOFTMAX>".
extern "C" int run_kernel(const cuda::Launch* how, const char* name, void** arguments, char* message) {
    return cuda::reported(message, [&] {
        const std::string whole = name, kernel = whole.substr(0, whole.find('<')), types = whole.substr(kernel.size());
        if (types == "<float, SOFTMAX>") run<float, SOFTMAX>(*how, kernel, arguments);
        if (types == "<float, SIGMOID>") run<float, SIGMOID>(*how, kernel, arguments);
        if (types == "<double, SOFTMAX>") run<double, SOFTMAX>(*how, kernel, arguments);
        if (types == "<double, SIGMOID>") run<double, SIGMOID>(*how, kernel, arguments);
    });
}
