// The assignment on CUDA: rectangular problems by shortest augmenting paths, one block of threads a problem.
//
// The algorithm is that of `scipy.optimize.linear_sum_assignment` (Crouse 2016, "On implementing 2D rectangular
// assignment algorithms"), in float64 and with the same roundings and choices, so that equal costs give equal
// assignments, ties included. `numba_solver.py` is the same algorithm for one thread, and the place to read it first.
//
// The rows are the smaller of the two sets (of two equal ones, the queries), the columns the other. Each row in turn is
// matched by the shortest path, in reduced costs, from it to an unmatched column. The prices u of rows and v of columns
// keep every reduced cost c - u - v at least 0, and 0 on matched pairs, which is what makes the assignment optimal.
//
// Thread t owns the columns t, t + threads, t + 2 threads, …: what only their owner needs lies in its registers, the
// rest in shared memory. A step of the search is one pass over the columns and one barrier. Each step waits for the one
// before it, so what counts is how long one takes: the costs of a row lie side by side, their loads wait for nothing but
// the row's number, and what can be done meanwhile is left for then.

constexpr int WARP = 32;
constexpr int MOST_THREADS = 512;
constexpr unsigned EVERY_LANE = 0xffffffff;
constexpr int NONE = -1;
constexpr unsigned REACHED = 0xffffffff;  // in place of a rank

__device__ double infinity() { return __longlong_as_double(0x7ff0000000000000); }

enum Status { SOLVED = 0, INVALID_COST = 1, INFEASIBLE = 2, INVALID_SIZE = 3 };

// A column that the search could reach next, and the row that it is matched with, or NONE. Of two at the same distance
// the lower rank is taken; no two have the same.
struct alignas(16) Candidate {
    double distance;
    unsigned rank;
    int row;
};

__device__ bool precedes(Candidate one, Candidate other) {
    return one.distance < other.distance || (one.distance == other.distance && one.rank < other.rank);
}

// scipy scans a list of the unreached columns and takes the last unmatched one of those that are nearest, as it ends
// the search at once, or if there is none the first matched one. `place` is the column's place in that list.
__device__ unsigned rank_of(int column, int place, bool unmatched, int num_columns) {
    int tie = unmatched ? num_columns - 1 - place : num_columns + place;
    return static_cast<unsigned>(tie) << 16 | column;
}

__device__ int place_of_rank(unsigned rank, int num_columns) {
    int tie = rank >> 16;
    return tie < num_columns ? num_columns - 1 - tie : tie - num_columns;
}

__device__ int column_of_rank(unsigned rank) { return rank & 0xffff; }

__device__ unsigned least_of_warp(unsigned value) {
#if __CUDA_ARCH__ >= 800
    return __reduce_min_sync(EVERY_LANE, value);
#else
#pragma unroll
    for (int offset = WARP / 2; offset > 0; offset /= 2) {
        unsigned other = __shfl_xor_sync(EVERY_LANE, value, offset);
        if (other < value) value = other;
    }
    return value;
#endif
}

// A number that is less where the distance is. -0 would come before 0, but is no distance: of sums and differences it is
// only -0 + -0 and -0 - 0, and the first sum of all begins with 0.
__device__ unsigned long long order_of(double distance) {
    const long long bits = __double_as_longlong(distance);
    return bits < 0 ? ~bits : bits | 1ull << 63;
}

// All threads of a block call it, and all learn the first of their candidates. first_of_warps: one place for each warp,
// which no thread may write again before the next barrier but one, as slower threads still read.
__device__ Candidate first_of_block(Candidate own, Candidate* first_of_warps) {
    const unsigned long long order = order_of(own.distance);
    const unsigned high = order >> 32, low = order;
    const unsigned least_high = least_of_warp(high);
    const unsigned least_low = least_of_warp(high == least_high ? low : 0xffffffff);
    const unsigned rank = least_of_warp(high == least_high && low == least_low ? own.rank : REACHED);
    // Where no lane has a column left, the first one says so.
    if (own.rank == rank && (rank != REACHED || threadIdx.x % WARP == 0)) first_of_warps[threadIdx.x / WARP] = own;
    __syncthreads();
    Candidate first = first_of_warps[0];
#pragma unroll 4
    for (int warp = 1; warp < static_cast<int>(blockDim.x) / WARP; ++warp) {
        if (precedes(first_of_warps[warp], first)) first = first_of_warps[warp];
    }
    return first;
}

// Matches the sink with the row from which the path came to it, that row's former column with the row before it, and so
// on up to the start.
__device__ void augment(int start, int sink, const int* before, int* row_of, int* column_of) {
    int column = sink, row;
    do {
        row = before[column];
        row_of[column] = row;
        int former = column_of[row];
        column_of[row] = column;
        column = former;
    } while (row != start);
}

// costs: [P, T, Q], of which the first sizes[p] targets of problem p count. turned_costs: the same as [P, Q, T]; it is read
// where a problem has as many targets as queries, and may be null where none can. query_of_target: [P, T], the query of
// each target, or -1 where it has none, and in all of a problem that is not SOLVED. statuses: [P].
//
// A block has at most MOST_THREADS threads in whole warps, and threads * COLUMNS >= max(Q, T), which is at most 2^15 as a
// rank has 16 bits for either part. `shared_bytes` in `cuda_solver.py` says how much shared memory it takes.
template <typename Cost, int COLUMNS>
__global__ void __launch_bounds__(MOST_THREADS, 1) solve(
    const Cost* __restrict__ costs,
    const Cost* __restrict__ turned_costs,
    const long long* __restrict__ sizes,
    int most_targets,
    int num_queries,
    long long* __restrict__ query_of_target,
    int* __restrict__ statuses) {
    const int problem = blockIdx.x, thread = threadIdx.x, threads = blockDim.x;
    const bool size_is_valid = sizes[problem] >= 0 && sizes[problem] <= most_targets;
    const int num_targets = size_is_valid ? static_cast<int>(sizes[problem]) : 0;
    const bool rows_are_targets = num_targets < num_queries;
    const int num_rows = rows_are_targets ? num_targets : num_queries;
    const int num_columns = rows_are_targets ? num_queries : num_targets;
    const int row_stride = rows_are_targets ? num_queries : most_targets;
    const size_t first_cost = static_cast<size_t>(problem) * most_targets * num_queries;
    const Cost* cost = (rows_are_targets ? costs : turned_costs) + first_cost;
    long long* query_of = query_of_target + static_cast<size_t>(problem) * most_targets;

    extern __shared__ __align__(16) double shared_memory[];
    Candidate* first_of_warps = reinterpret_cast<Candidate*>(shared_memory);
    double* u = reinterpret_cast<double*>(first_of_warps + 2 * threads / WARP);
    int* column_of = reinterpret_cast<int*>(u + num_rows);
    int* row_of = column_of + num_rows;
    int* before = row_of + num_columns;

    double v[COLUMNS], distance[COLUMNS];
    unsigned rank[COLUMNS];
    int matched_row[COLUMNS];  // as in row_of

    for (int row = thread; row < num_rows; row += threads) {
        u[row] = 0;
        column_of[row] = NONE;
    }
    for (int column = thread; column < num_columns; column += threads) row_of[column] = NONE;
#pragma unroll
    for (int k = 0; k < COLUMNS; ++k) {
        v[k] = 0;
        matched_row[k] = NONE;
    }
    bool invalid = false, feasible = true;
    int step = 0;
    __syncthreads();

    for (int start = 0; start < num_rows; ++start) {
#pragma unroll
        for (int k = 0; k < COLUMNS; ++k) {
            int column = thread + k * threads;
            distance[k] = infinity();
            bool exists = column < num_columns;
            rank[k] =
                exists ? rank_of(column, num_columns - 1 - column, matched_row[k] == NONE, num_columns) : REACHED;
        }

        int row = start, sink = NONE, unreached = num_columns;
        double length = 0;
        while (sink == NONE) {
            const double u_of_row = u[row];
            const Cost* costs_of_row = cost + row * row_stride;
            // All loads come first, and none behind a branch, so that they are under way at the same time.
            Cost c[COLUMNS];
#pragma unroll
            for (int k = 0; k < COLUMNS; ++k) c[k] = costs_of_row[min(thread + k * threads, num_columns - 1)];
            Candidate own = {infinity(), REACHED, NONE};
#pragma unroll
            for (int k = 0; k < COLUMNS; ++k) {
                invalid |= !(c[k] > -infinity());
                // The order of these operations is scipy's, as it decides how the sum is rounded.
                double through = length + c[k] - u_of_row - v[k];
                if (rank[k] == REACHED) continue;
                if (through < distance[k]) {
                    distance[k] = through;
                    before[thread + k * threads] = row;
                }
                Candidate candidate = {distance[k], rank[k], matched_row[k]};
                if (precedes(candidate, own)) own = candidate;
            }

            // Two sets of places in turn: between a write to one and the next lies a barrier that its readers pass.
            Candidate nearest = first_of_block(own, first_of_warps + (step++ % 2) * (threads / WARP));
            length = nearest.distance;
            feasible = length < infinity();
            // From here on all threads agree on the nearest column, and so on when to leave.
            if (!feasible) break;

            // In scipy's list the last column moves to where the nearest was.
            int place = place_of_rank(nearest.rank, num_columns);
            --unreached;
#pragma unroll
            for (int k = 0; k < COLUMNS; ++k) {
                if (rank[k] == nearest.rank) {
                    rank[k] = REACHED;
                } else if (rank[k] != REACHED && place_of_rank(rank[k], num_columns) == unreached) {
                    rank[k] = rank_of(thread + k * threads, place, matched_row[k] == NONE, num_columns);
                }
            }
            row = nearest.row;
            if (row == NONE) sink = column_of_rank(nearest.rank);
        }
        if (!feasible) break;

        // The reached columns and their rows get the prices under which the path costs nothing and nothing else less.
        // Their rows are distinct and not the start, which is unmatched: no two threads change the same u.
        if (thread == 0) u[start] += length;
#pragma unroll
        for (int k = 0; k < COLUMNS; ++k) {
            if (rank[k] == REACHED && matched_row[k] != NONE) {
                u[matched_row[k]] += length - distance[k];
                v[k] -= length - distance[k];
            }
        }
        // Nobody reads meanwhile what it writes.
        if (thread == 0) augment(start, sink, before, row_of, column_of);
        __syncthreads();
#pragma unroll
        for (int k = 0; k < COLUMNS; ++k) {
            int column = thread + k * threads;
            if (column < num_columns) matched_row[k] = row_of[column];
        }
    }

    // Each row was a start, and then all its costs were looked at, unless the problem was given up before.
    if (!feasible) {
        for (int i = thread; i < num_targets * num_queries; i += threads) {
            invalid |= !(costs[first_cost + i] > -infinity());
        }
    }
    invalid = __syncthreads_or(invalid);
    const bool solved = size_is_valid && feasible && !invalid;
    for (int target = thread; target < most_targets; target += threads) {
        const int* query = rows_are_targets ? column_of : row_of;
        query_of[target] = solved && target < num_targets ? query[target] : NONE;
    }
    if (thread == 0) {
        statuses[problem] = !size_is_valid ? INVALID_SIZE : invalid ? INVALID_COST : feasible ? SOLVED : INFEASIBLE;
    }
}
