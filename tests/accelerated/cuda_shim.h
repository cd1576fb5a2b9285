// The words of CUDA that the kernels use, for a C++17 compiler without CUDA: each thread of a block is a fibre, and every
// barrier and every shuffle a switch to another one, chosen by an adversary. Blocks run one after another.
//
// Between two switches a fibre runs alone, so a race is not seen as such; it is seen by the order of the fibres, which
// the adversary varies, changing the result. Barriers that some threads do not reach, and shuffles that some lanes of
// the mask do not reach, end the launch with a message, as do a thread that returns while others wait for it, one that
// runs on without end, and one that writes beyond the shared memory.

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/time.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <queue>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

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

// On a device these are for float, too.
using std::exp, std::fabs, std::log, std::log1p, std::max, std::min, std::pow;

struct Index {
    int x, y = 0;
};
static Index threadIdx, blockIdx, blockDim, gridDim;
alignas(16) static double shared_memory[1 << 15];

namespace cuda {

constexpr int LANES = 32;
constexpr int LEAST_OF_ALL = -1;  // in place of the offset of a shuffle
constexpr size_t STACK_BYTES = 1 << 16;

enum Order { ASCENDING, DESCENDING, RANDOM_WARPS, RANDOM_THREADS };
enum State { RUNNABLE, AT_BARRIER, AT_SHUFFLE, RETURNED };

struct Fibre {
    ucontext_t context;  // where it starts
    jmp_buf halt;        // where it goes on; a jump asks nothing of the system, as a change of context does
    bool started;
    std::vector<char> stack;
    State state;
    int place;  // which barrier or shuffle of the source it waits at
    int line;
    unsigned mask;
    int offset;
    uint64_t given, received;
};

struct Scheduler {
    jmp_buf home;
    std::vector<Fibre> fibres;
    // The one with the greatest urgency runs next.
    std::priority_queue<std::pair<int64_t, int>> runnable;
    std::vector<int64_t> urgency_of_warp;
    std::mt19937 numbers;
    Order order;
    int current;
    pthread_t host_thread;
    volatile long switches;
    volatile bool endless;
    void (*kernel)(void*);
    void* arguments;
};
static Scheduler scheduler;

inline void switch_away(State state, int place, int line) {
    Fibre& self = scheduler.fibres[scheduler.current];
    self.state = state;
    self.place = place;
    self.line = line;
    if (_setjmp(self.halt) == 0) _longjmp(scheduler.home, 1);
}

inline bool wait_for_block(int line, bool predicate) {
    Fibre& self = scheduler.fibres[scheduler.current];
    self.given = predicate;
    switch_away(AT_BARRIER, line, line);
    return self.received;
}

template <typename Value>
Value exchange(int place, int line, unsigned mask, Value value, int offset) {
    Fibre& self = scheduler.fibres[scheduler.current];
    self.given = 0;
    std::memcpy(&self.given, &value, sizeof value);
    self.mask = mask;
    self.offset = offset;
    switch_away(AT_SHUFFLE, place, line);
    std::memcpy(&value, &self.received, sizeof value);
    return value;
}

inline void make_runnable(int thread) {
    int64_t urgency = 0;
    switch (scheduler.order) {
        case ASCENDING: urgency = -thread; break;
        case DESCENDING: urgency = thread; break;
        case RANDOM_THREADS: urgency = scheduler.numbers(); break;
        case RANDOM_WARPS: urgency = scheduler.urgency_of_warp[thread / LANES] << 32 | scheduler.numbers(); break;
    }
    scheduler.fibres[thread].state = RUNNABLE;
    scheduler.runnable.push({urgency, thread});
}

inline std::string where(int thread) {
    const Fibre& fibre = scheduler.fibres[thread];
    std::string name = "thread " + std::to_string(thread);
    if (fibre.state == RETURNED) return name + " has returned";
    if (fibre.state == RUNNABLE) return name;
    return name + (fibre.state == AT_BARRIER ? " waits at the barrier" : " waits at the shuffle") + " of line " +
           std::to_string(fibre.line);
}

inline void draw_urgencies() {
    for (auto& urgency : scheduler.urgency_of_warp) urgency = scheduler.numbers();
}

// Ends the wait of all threads at a barrier, if all are there.
inline bool pass_barrier() {
    for (const auto& fibre : scheduler.fibres) {
        if (fibre.state != AT_BARRIER || fibre.place != scheduler.fibres[0].place) return false;
    }
    uint64_t any = 0;
    for (const auto& fibre : scheduler.fibres) any |= fibre.given;
    draw_urgencies();
    for (int thread = 0; thread < blockDim.x; ++thread) {
        scheduler.fibres[thread].received = any;
        make_runnable(thread);
    }
    return true;
}

// Ends the wait of the lanes of one warp at a shuffle, if all that it names are there.
inline bool pass_shuffle(int warp) {
    Fibre* lanes = &scheduler.fibres[warp * LANES];
    const Fibre* first = nullptr;
    for (int lane = 0; lane < LANES; ++lane) {
        if (lanes[lane].state == AT_SHUFFLE && first == nullptr) first = &lanes[lane];
    }
    if (first == nullptr) return false;
    const unsigned mask = first->mask;
    for (int lane = 0; lane < LANES; ++lane) {
        bool named = mask >> lane & 1, waits = lanes[lane].state == AT_SHUFFLE;
        if (named != waits) return false;
        if (waits && (lanes[lane].place != first->place || lanes[lane].mask != mask)) return false;
    }
    if (scheduler.order == RANDOM_WARPS) scheduler.urgency_of_warp[warp] = scheduler.numbers();
    uint64_t least = first->given;
    for (int lane = 0; lane < LANES; ++lane) {
        if (mask >> lane & 1) least = min(least, lanes[lane].given);
    }
    for (int lane = 0; lane < LANES; ++lane) {
        const int other = lane ^ lanes[lane].offset;
        if (!(mask >> lane & 1)) continue;
        if (lanes[lane].offset == LEAST_OF_ALL) {
            lanes[lane].received = least;
            continue;
        }
        if (other >= LANES || !(mask >> other & 1)) {
            throw std::runtime_error("a shuffle reads from a lane outside its mask: " + where(warp * LANES + lane));
        }
        lanes[lane].received = lanes[other].given;
    }
    for (int lane = 0; lane < LANES; ++lane) {
        if (mask >> lane & 1) make_runnable(warp * LANES + lane);
    }
    return true;
}

// Called when the process has computed for another while: a fibre that has not switched since the last call is left.
inline void look_for_endless_thread(int signal) {
    static long switches_before = -1;
    if (!pthread_equal(pthread_self(), scheduler.host_thread)) {
        pthread_kill(scheduler.host_thread, signal);
    } else if (scheduler.switches == switches_before) {
        scheduler.endless = true;
        sigset_t signals;
        sigemptyset(&signals);
        sigaddset(&signals, signal);
        pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
        _longjmp(scheduler.home, 1);
    } else {
        switches_before = scheduler.switches;
    }
}

struct Watch {
    struct sigaction former_action;

    Watch() {
        scheduler.host_thread = pthread_self();
        struct sigaction action = {};
        action.sa_handler = look_for_endless_thread;
        sigaction(SIGVTALRM, &action, &former_action);
        set_interval(1);
    }
    ~Watch() {
        set_interval(0);
        sigaction(SIGVTALRM, &former_action, nullptr);
    }
    static void set_interval(int seconds) {
        itimerval interval = {{seconds, 0}, {seconds, 0}};
        setitimer(ITIMER_VIRTUAL, &interval, nullptr);
    }
};

[[noreturn]] inline void report_divergence() {
    int waiting = 0, other = 0;
    while (scheduler.fibres[waiting].state == RETURNED) ++waiting;
    const Fibre& one = scheduler.fibres[waiting];
    for (int thread = 0; thread < blockDim.x; ++thread) {
        const Fibre& fibre = scheduler.fibres[thread];
        if (fibre.state != one.state || fibre.place != one.place) other = thread;
    }
    throw std::runtime_error(
        "divergence in block " + std::to_string(blockIdx.x + blockIdx.y * gridDim.x) + ": " + where(waiting) + ", but " + where(other));
}

inline void run_thread() {
    scheduler.kernel(scheduler.arguments);
    scheduler.fibres[scheduler.current].state = RETURNED;
    _longjmp(scheduler.home, 1);
}

inline void run_block() {
    scheduler.runnable = {};
    draw_urgencies();
    for (int thread = 0; thread < blockDim.x; ++thread) {
        Fibre& fibre = scheduler.fibres[thread];
        getcontext(&fibre.context);
        fibre.context.uc_stack.ss_sp = fibre.stack.data();
        fibre.context.uc_stack.ss_size = fibre.stack.size();
        fibre.context.uc_link = nullptr;
        fibre.started = false;
        makecontext(&fibre.context, run_thread, 0);
        make_runnable(thread);
    }
    int returned = 0;
    while (returned < blockDim.x) {
        if (scheduler.runnable.empty()) report_divergence();
        scheduler.current = threadIdx.x = scheduler.runnable.top().second;
        scheduler.runnable.pop();
        Fibre& fibre = scheduler.fibres[scheduler.current];
        ++scheduler.switches;
        scheduler.endless = false;
        if (_setjmp(scheduler.home) == 0) {
            if (fibre.started) _longjmp(fibre.halt, 1);
            fibre.started = true;
            setcontext(&fibre.context);
        }
        if (scheduler.endless) throw std::runtime_error(where(scheduler.current) + " runs on without end");
        if (fibre.state == RETURNED) ++returned;
        if (scheduler.runnable.empty() && fibre.state == AT_BARRIER) pass_barrier();
        if (fibre.state == AT_SHUFFLE) pass_shuffle(scheduler.current / LANES);
    }
}

// Runs a kernel, given as a function without arguments, in a grid of blocks of so many threads. Shared memory is full of rubbish
// when a block starts, as it is on a device, and stays so beyond the bytes asked for.
template <typename Kernel>
void launch(Index blocks, int threads, size_t shared_bytes, Order order, unsigned seed, Kernel kernel) {
    if (shared_bytes > sizeof shared_memory) throw std::runtime_error("so much shared memory is not here");
    scheduler.order = order;
    scheduler.numbers.seed(seed);
    scheduler.kernel = [](void* arguments) { (*static_cast<Kernel*>(arguments))(); };
    scheduler.arguments = &kernel;
    scheduler.fibres.resize(threads);
    scheduler.urgency_of_warp.resize(threads / LANES);
    for (auto& fibre : scheduler.fibres) fibre.stack.resize(STACK_BYTES);
    blockDim.x = threads;
    gridDim = blocks;
    Watch watch;
    for (int block = 0; block < blocks.x * blocks.y; ++block) {
        blockIdx = {block % blocks.x, block / blocks.x};
        std::memset(shared_memory, 0x5a, sizeof shared_memory);
        run_block();
        const unsigned char* rest = reinterpret_cast<const unsigned char*>(shared_memory) + shared_bytes;
        const size_t length = sizeof shared_memory - shared_bytes;
        // All of it is as it was if the first byte is, and each is like the one before.
        if (length > 0 && (rest[0] != 0x5a || std::memcmp(rest, rest + 1, length - 1) != 0)) {
            throw std::runtime_error("a write beyond the shared memory of the launch");
        }
    }
}

// How a launch is described from outside.
struct Launch {
    Index blocks;
    int threads;
    size_t shared_bytes;
    Order order;
    unsigned seed;
};

// Runs a kernel with its arguments given by where each lies, as CUDA's own interface takes them.
template <typename... Parameters, int... NUMBERS>
void run(const Launch& how, void (*kernel)(Parameters...), void** arguments, std::integer_sequence<int, NUMBERS...>) {
    launch(how.blocks, how.threads, how.shared_bytes, how.order, how.seed, [&] {
        kernel(*static_cast<Parameters*>(arguments[NUMBERS])...);
    });
}

template <typename... Parameters>
void run(const Launch& how, void (*kernel)(Parameters...), void** arguments) {
    run(how, kernel, arguments, std::make_integer_sequence<int, sizeof...(Parameters)>());
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
