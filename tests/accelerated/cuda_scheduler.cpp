// Runs kernels on the host: each thread of a block is a fibre, and every barrier and every shuffle a switch to another
// one, chosen by an adversary. Blocks run one after another.
//
// A launch ends with a message where some threads do not reach a barrier, some lanes of the mask do not reach a shuffle,
// a thread returns while others wait for it or runs on without end, and where `cuda_memory.h` finds fault with an access
// to memory. Kernels are compiled as for the compiler's own detector of races, so that each of their loads and stores
// calls back; what it calls is here, and that detector is not linked.

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/time.h>
#include <ucontext.h>

#include <queue>
#include <random>
#include <vector>

#include "cuda_memory.h"
#include "cuda_shim.h"

Index threadIdx, blockIdx, blockDim, gridDim;
alignas(16) double shared_memory[1 << 15];

namespace cuda {

constexpr int LANES = 32;
constexpr size_t STACK_BYTES = 1 << 16;

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
    volatile bool endless, runs_fibre;
    Memory memory;
    std::string fault;
    void (*function)(void*);
    void* given;
};
static Scheduler scheduler;

void switch_away(State state, int place, int line) {
    Fibre& self = scheduler.fibres[scheduler.current];
    self.state = state;
    self.place = place;
    self.line = line;
    if (_setjmp(self.halt) == 0) _longjmp(scheduler.home, 1);
}

bool wait_for_block(int line, bool predicate) {
    Fibre& self = scheduler.fibres[scheduler.current];
    self.given = predicate;
    switch_away(AT_BARRIER, line, line);
    return self.received;
}

uint64_t exchange_bits(int place, int line, unsigned mask, uint64_t bits, int offset) {
    Fibre& self = scheduler.fibres[scheduler.current];
    self.given = bits;
    self.mask = mask;
    self.offset = offset;
    switch_away(AT_SHUFFLE, place, line);
    return self.received;
}

void make_runnable(int thread) {
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

std::string where(int thread) {
    const Fibre& fibre = scheduler.fibres[thread];
    std::string name = "thread " + std::to_string(thread);
    if (fibre.state == RETURNED) return name + " has returned";
    if (fibre.state == RUNNABLE) return name;
    return name + (fibre.state == AT_BARRIER ? " waits at the barrier" : " waits at the shuffle") + " of line " +
           std::to_string(fibre.line);
}

std::string block_at_hand() { return "block " + std::to_string(blockIdx.x + blockIdx.y * gridDim.x); }

void draw_urgencies() {
    for (auto& urgency : scheduler.urgency_of_warp) urgency = scheduler.numbers();
}

// Ends the wait of all threads at a barrier, if all are there.
void pass_barrier() {
    for (const auto& fibre : scheduler.fibres) {
        if (fibre.state != AT_BARRIER || fibre.place != scheduler.fibres[0].place) return;
    }
    scheduler.memory.pass_barrier();
    uint64_t any = 0;
    for (const auto& fibre : scheduler.fibres) any |= fibre.given;
    draw_urgencies();
    for (int thread = 0; thread < blockDim.x; ++thread) {
        scheduler.fibres[thread].received = any;
        make_runnable(thread);
    }
}

// Ends the wait of the lanes of one warp at a shuffle, if all that it names are there.
void pass_shuffle(int warp) {
    Fibre* lanes = &scheduler.fibres[warp * LANES];
    const Fibre* first = nullptr;
    for (int lane = 0; lane < LANES; ++lane) {
        if (lanes[lane].state == AT_SHUFFLE && first == nullptr) first = &lanes[lane];
    }
    if (first == nullptr) return;
    const unsigned mask = first->mask;
    for (int lane = 0; lane < LANES; ++lane) {
        bool named = mask >> lane & 1, waits = lanes[lane].state == AT_SHUFFLE;
        if (named != waits) return;
        if (waits && (lanes[lane].place != first->place || lanes[lane].mask != mask)) return;
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
}

// Called when the process has computed for another while: a fibre that has not switched since the last call is left.
void look_for_endless_thread(int signal) {
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

[[noreturn]] void report_divergence() {
    int waiting = 0, other = 0;
    while (scheduler.fibres[waiting].state == RETURNED) ++waiting;
    const Fibre& one = scheduler.fibres[waiting];
    for (int thread = 0; thread < blockDim.x; ++thread) {
        const Fibre& fibre = scheduler.fibres[thread];
        if (fibre.state != one.state || fibre.place != one.place) other = thread;
    }
    throw std::runtime_error("divergence in " + block_at_hand() + ": " + where(waiting) + ", but " + where(other));
}

void run_thread() {
    scheduler.function(scheduler.given);
    scheduler.fibres[scheduler.current].state = RETURNED;
    _longjmp(scheduler.home, 1);
}

void run_block() {
    scheduler.runnable = {};
    scheduler.fault.clear();
    draw_urgencies();
    for (int thread = 0; thread < blockDim.x; ++thread) {
        Fibre& fibre = scheduler.fibres[thread];
        getcontext(&fibre.context);
        fibre.context.uc_stack.ss_sp = fibre.stack.data();
        fibre.context.uc_stack.ss_size = fibre.stack.size();
        fibre.context.uc_link = nullptr;
        fibre.started = false;
        fibre.line = 0;
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
        scheduler.runs_fibre = true;
        if (_setjmp(scheduler.home) == 0) {
            if (fibre.started) _longjmp(fibre.halt, 1);
            fibre.started = true;
            setcontext(&fibre.context);
        }
        scheduler.runs_fibre = false;
        if (!scheduler.fault.empty()) throw std::runtime_error("in " + block_at_hand() + ", " + scheduler.fault);
        if (scheduler.endless) throw std::runtime_error(where(scheduler.current) + " runs on without end");
        if (fibre.state == RETURNED) ++returned;
        if (scheduler.runnable.empty() && fibre.state == AT_BARRIER) pass_barrier();
        if (fibre.state == AT_SHUFFLE) pass_shuffle(scheduler.current / LANES);
    }
}

void launch(const Launch& how, void (*function)(void*), void* given) {
    if (how.shared_bytes > sizeof shared_memory) throw std::runtime_error("so much shared memory is not here");
    scheduler.order = how.order;
    scheduler.numbers.seed(how.seed);
    scheduler.memory.start_launch(how.memory, how.extents);
    scheduler.function = function;
    scheduler.given = given;
    scheduler.fibres.resize(how.threads);
    scheduler.urgency_of_warp.resize(how.threads / LANES);
    for (auto& fibre : scheduler.fibres) fibre.stack.resize(STACK_BYTES);
    blockDim.x = how.threads;
    gridDim = how.blocks;
    Watch watch;
    for (int block = 0; block < gridDim.x * gridDim.y; ++block) {
        blockIdx = {block % gridDim.x, block / gridDim.x};
        // Rubbish, as there is on a device.
        std::memset(shared_memory, 0x5a, sizeof shared_memory);
        scheduler.memory.start_block(shared_memory, how.shared_bytes);
        run_block();
    }
}

bool is_of_thread(const void* address) {
    const std::vector<char>& stack = scheduler.fibres[scheduler.current].stack;
    if (address >= stack.data() && address < stack.data() + stack.size()) return true;
    for (const Index* one : {&threadIdx, &blockIdx, &blockDim, &gridDim}) {
        if (address == &one->x || address == &one->y) return true;
    }
    return false;
}

bool is_fault(const void* address, size_t bytes, bool writes) {
    const std::string fault = scheduler.memory.fault_of(address, bytes, writes, scheduler.current);
    if (fault.empty()) return false;
    const std::string place = ", past line " + std::to_string(scheduler.fibres[scheduler.current].line);
    scheduler.fault = where(scheduler.current) + place + (writes ? ", writes " : ", reads ") + fault;
    return true;
}

// What the compiler puts before each load and store of a kernel, and of what launches it.
void look_at(const void* address, size_t bytes, bool writes) {
    if (!scheduler.runs_fibre || is_of_thread(address)) return;
    if (is_fault(address, bytes, writes)) _longjmp(scheduler.home, 1);
}

}  // namespace cuda

#define LOADS_AND_STORES(BYTES)                                                                       \
    extern "C" void __tsan_read##BYTES(void* address) { cuda::look_at(address, BYTES, false); }       \
    extern "C" void __tsan_write##BYTES(void* address) { cuda::look_at(address, BYTES, true); }
LOADS_AND_STORES(1)
LOADS_AND_STORES(2)
LOADS_AND_STORES(4)
LOADS_AND_STORES(8)
LOADS_AND_STORES(16)
extern "C" void __tsan_read_range(void* address, size_t bytes) { cuda::look_at(address, bytes, false); }
extern "C" void __tsan_write_range(void* address, size_t bytes) { cuda::look_at(address, bytes, true); }
extern "C" void __tsan_vptr_read(void*) {}
extern "C" void __tsan_func_entry(void*) {}
extern "C" void __tsan_func_exit() {}
extern "C" void __tsan_init() {}
