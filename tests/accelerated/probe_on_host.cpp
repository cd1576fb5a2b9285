// One kernel named probe, of any arguments, as a library for the host: KERNEL is the path of its source.

#include "cuda_shim.h"

#include KERNEL

extern "C" int run_kernel(const cuda::Launch* how, const char*, void** arguments, char* message) {
    return cuda::reported(message, [&] { cuda::run(*how, probe, arguments); });
}
