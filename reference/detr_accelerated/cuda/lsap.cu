// The assignment on CUDA: rectangular problems by shortest augmenting paths, one block of threads a problem.
//
// The algorithm is that of `scipy.optimize.linear_sum_assignment` (Crouse 2016, "On implementing 2D rectangular
// assignment algorithms"), in float64 and with the same roundings and choices, so that equal costs give equal
// assignments, ties included. `compiled/kernels/solver.py` is the same algorithm for one thread, and the place to read it first.
//
// The rows are the smaller of the two sets (of two equal ones, the queries), the columns the other. Each row in turn is
// matched by the shortest path, in reduced costs, from it to an unmatched column. The prices u of rows and v of columns
// keep every reduced cost c - u - v at least 0, and 0 on matched pairs, which is what makes the assignment optimal.
//
// Most searches would be one step long, to the column where the cost of the row is least, and are not made: prices of
// columns begin at 0 and only fall, and that of an unmatched column has not fallen. So as long as that column, the first
// of several, is unmatched, nothing is nearer, and the rule for ties takes it. It is the row's first choice. Where rounding
// makes a price rise, the rows that follow are all searched from.
//
// Thread t owns the columns t, t + THREADS, t + 2 THREADS, …: what only their owner needs lies in its registers, the
// rest in shared memory. A step of the search is one pass over the columns and one barrier. Each step waits for the one
// before it, so what counts is how long one takes: distances are compared as integers, the costs of a row lie side by
// side, and they are under way as soon as the row is known, before anything else is done.

constexpr int WARP = 32;
constexpr unsigned EVERY_LANE = 0xffffffff;
constexpr int NONE = -1;
constexpr unsigned REACHED = 0xffffffff;  // in place of a rank
constexpr unsigned long long SIGN = 1ull << 63;

__device__ double infinity() { return __longlong_as_double(0x7ff0000000000000); }

enum Status { SOLVED = 0, INVALID_COST = 1, INFEASIBLE = 2, INVALID_SIZE = 3 };

// A number that is less where the distance is. -0 would come before 0, but is no distance: of sums and differences it is
// only -0 + -0 and -0 - 0, and the first sum of all begins with 0.
__device__ unsigned long long order_of(double distance) {
    const long long bits = __double_as_longlong(distance);
    return bits ^ (bits >> 63 | SIGN);
}

__device__ double distance_of(unsigned long long order) {
    const long long bits = order;
    return __longlong_as_double(bits ^ (~(bits >> 63) | SIGN));
}

// A column that the search could reach next: where its distance is in the order of all, and the row that it is matched
// with, or NONE. Of two at the same distance the lower rank is taken; no two have the same.
struct alignas(16) Candidate {
    unsigned long long order;
    unsigned rank;
    int row;
};

// Without branches, as most threads would have to wait at the end of one.
__device__ Candidate first_of(Candidate one, Candidate other) {
    const bool precedes = (other.order < one.order) | ((other.order == one.order) & (other.rank < one.rank));
    return {precedes ? other.order : one.order, precedes ? other.rank : one.rank, precedes ? other.row : one.row};
}

// scipy scans a list of the unreached columns and takes the last unmatched one of those that are nearest, as it ends
// the search at once, or if there is none the first matched one. A rank says it in its upper half, from the column's
// place in that list, and the column in its lower half. `base` is the rank of the same column at place 0.
__device__ unsigned base_of_rank(int column, bool unmatched) { return (unmatched ? 0x7fffu : 0x8000u) << 16 | column; }

__device__ unsigned rank_at(int place, unsigned base) { return base ^ static_cast<unsigned>(place) << 16; }

__device__ int place_of_rank(unsigned rank) { return (rank >> 31 ? rank ^ 0x8000u << 16 : rank ^ 0x7fffu << 16) >> 16; }

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

// All lanes of a warp call it, and all learn the lowest rank of the columns whose distance comes first.
__device__ unsigned first_rank_of_warp(unsigned long long order, unsigned rank) {
    const unsigned high = order >> 32, low = order;
    const unsigned least_high = least_of_warp(high);
    const unsigned least_low = least_of_warp(high == least_high ? low : 0xffffffff);
    return least_of_warp(high == least_high && low == least_low ? rank : REACHED);
}

// All threads of a block call it, and all learn the first of their candidates. first_of_warps: one place for each warp,
// which no thread may write again before the next barrier but one, as slower threads still read.
template <int WARPS>
__device__ Candidate first_of_block(Candidate own, Candidate* first_of_warps, int thread) {
    const unsigned rank = first_rank_of_warp(own.order, own.rank);
    // Where no lane has a column left, the first one says so.
    if (own.rank == rank && (rank != REACHED || thread % WARP == 0)) first_of_warps[thread / WARP] = own;
    __syncthreads();
    Candidate first = first_of_warps[0];
#pragma unroll
    for (int warp = 1; warp < WARPS; ++warp) first = first_of(first, first_of_warps[warp]);
    return first;
}

// Whether a cost has no place in any order.
template <typename Cost>
__device__ bool is_invalid(Cost cost) {
    return !(cost > -infinity());
}

// Writes the costs [num_targets, num_queries] of a problem as [num_queries, num_targets], in rows that are `stride` apart,
// by way of a tile in shared memory, so that threads side by side read and write side by side.
template <typename Cost, int WARPS>
__device__ void turn(const Cost* costs, Cost* turned, int num_targets, int num_queries, int stride, Cost* tile) {
    constexpr int TILE_STRIDE = WARP + 1;
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    for (int target = 0; target < num_targets; target += WARP) {
        for (int query = 0; query < num_queries; query += WARP) {
#pragma unroll 8
            for (int i = warp; i < WARP; i += WARPS) {
                if (target + i >= num_targets || query + lane >= num_queries) continue;
                tile[i * TILE_STRIDE + lane] = costs[(target + i) * num_queries + query + lane];
            }
            __syncthreads();
#pragma unroll 8
            for (int i = warp; i < WARP; i += WARPS) {
                if (target + lane >= num_targets || query + i >= num_queries) continue;
                turned[(query + i) * stride + target + lane] = tile[lane * TILE_STRIDE + i];
            }
            __syncthreads();
        }
    }
}

// What a thread has met: a cost that has no place in any order, a row without a finite cost.
struct Met {
    bool invalid, infeasible;
};

// Looks at all costs of a problem, a row a warp. Writes the first choice of each row that has one, and its price with it.
template <typename Cost, int WARPS>
__device__ Met find_first_choices(
    const Cost* cost, int row_stride, int num_rows, int num_columns, double* u, int* column_of) {
    constexpr int AT_ONCE = 16;  // loads of a thread under way
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    Met met = {false, false};
    for (int row = warp; row < num_rows; row += WARPS) {
        Cost least = infinity();
        unsigned nearest = REACHED;
        for (int column = lane; column - lane < num_columns; column += AT_ONCE * WARP) {
            Cost c[AT_ONCE];
            // Beyond the last column it is looked at again, under another number, which is greater and so never first.
#pragma unroll
            for (int k = 0; k < AT_ONCE; ++k) c[k] = cost[row * row_stride + min(column + k * WARP, num_columns - 1)];
#pragma unroll
            for (int k = 0; k < AT_ONCE; ++k) {
                met.invalid |= is_invalid(c[k]);
                nearest = c[k] < least ? column + k * WARP : nearest;
                least = c[k] < least ? c[k] : least;
            }
        }
        const double price = 0.0 + least;  // which makes 0 of -0, as the sum of a search would
        const unsigned first = first_rank_of_warp(order_of(price), nearest);
        met.infeasible |= first == REACHED;
        if (nearest == first && first != REACHED) {
            u[row] = price;
            column_of[row] = first;
        }
    }
    return met;
}

// Matches rows with their first choices, from the row `start` up to the first one whose choice is taken, and returns it.
__device__ int match_first_choices(int start, int num_rows, int* row_of, const int* column_of) {
    while (start < num_rows && row_of[column_of[start]] == NONE) {
        row_of[column_of[start]] = start;
        ++start;
    }
    return start;
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

// costs: [P, T, Q], of which the first sizes[p] targets of problem p count. turned: room for [P, Q, T], which is used where
// a problem has as many targets as queries, and may be null where none can. query_of_target: [P, T], the query of each
// target, or -1 where it has none, and in all of a problem that is not SOLVED. statuses: [P].
//
// A block has THREADS threads, in whole warps, and THREADS * COLUMNS >= max(Q, T), which is at most 2^15 as a rank has 16
// bits for either part. `shared_bytes` in `solver.py` says how much shared memory it takes.
template <typename Cost, int THREADS, int COLUMNS>
__global__ void __launch_bounds__(THREADS, 1) solve(
    const Cost* costs,
    Cost* turned,
    const long long* __restrict__ sizes,
    int most_targets,
    int num_queries,
    long long* __restrict__ query_of_target,
    int* __restrict__ statuses) {
    constexpr int WARPS = THREADS / WARP;
    const int problem = blockIdx.x, thread = threadIdx.x;
    const bool size_is_valid = sizes[problem] >= 0 && sizes[problem] <= most_targets;
    const int num_targets = size_is_valid ? static_cast<int>(sizes[problem]) : 0;
    const bool rows_are_targets = num_targets < num_queries;
    const int num_rows = rows_are_targets ? num_targets : num_queries;
    const int num_columns = rows_are_targets ? num_queries : num_targets;
    const int row_stride = rows_are_targets ? num_queries : most_targets;
    const size_t first_cost = static_cast<size_t>(problem) * most_targets * num_queries;
    const Cost* cost = (rows_are_targets ? costs : turned) + first_cost;
    long long* query_of = query_of_target + static_cast<size_t>(problem) * most_targets;

    extern __shared__ __align__(16) double shared_memory[];
    Candidate* first_of_warps = reinterpret_cast<Candidate*>(shared_memory);
    double* u = reinterpret_cast<double*>(first_of_warps + 2 * WARPS);
    int* column_of = reinterpret_cast<int*>(u + num_rows);
    int* row_of = column_of + num_rows;
    int* before = row_of + num_columns;
    int* next_start = before + num_columns;

    double v[COLUMNS], distance[COLUMNS];
    unsigned rank[COLUMNS], base[COLUMNS];
    int matched_row[COLUMNS];  // as in row_of
    Cost c[COLUMNS];           // of the row at hand

    if (!rows_are_targets) {
        Cost* tile = reinterpret_cast<Cost*>(shared_memory);
        turn<Cost, WARPS>(costs + first_cost, turned + first_cost, num_targets, num_queries, most_targets, tile);
    }
    const Met met = find_first_choices<Cost, WARPS>(cost, row_stride, num_rows, num_columns, u, column_of);
    for (int column = thread; column < num_columns; column += THREADS) row_of[column] = NONE;
#pragma unroll
    for (int k = 0; k < COLUMNS; ++k) v[k] = 0;
    const bool invalid = __syncthreads_or(met.invalid);
    bool feasible = !__syncthreads_or(met.infeasible);

    auto load_costs = [&](int row) {
        // A column that does not exist is given another's cost, as a load behind a branch would wait for it.
#pragma unroll
        for (int k = 0; k < COLUMNS; ++k) c[k] = cost[row * row_stride + min(thread + k * THREADS, num_columns - 1)];
    };
    const int num_starts = invalid || !feasible ? 0 : num_rows;
    unsigned step = 0;
    int start = 0, loaded = NONE;
    bool prices_only_fell = true;
    while (true) {
        if (thread == 0) {
            *next_start = prices_only_fell ? match_first_choices(start, num_starts, row_of, column_of) : start;
        }
        __syncthreads();
        start = *next_start;
        if (start == num_starts) break;
        if (start != loaded) load_costs(start);

#pragma unroll
        for (int k = 0; k < COLUMNS; ++k) {
            int column = thread + k * THREADS;
            matched_row[k] = column < num_columns ? row_of[column] : NONE;
            distance[k] = infinity();
            base[k] = base_of_rank(column, matched_row[k] == NONE);
            rank[k] = column < num_columns ? rank_at(num_columns - 1 - column, base[k]) : REACHED;
        }

        int row = start, unreached = num_columns;
        double length = 0, u_of_row = 0;  // no row has a price before it is matched
        unsigned long long furthest = 0;
        Candidate nearest;
        while (true) {
            Candidate own;
#pragma unroll
            for (int k = 0; k < COLUMNS; ++k) {
                const bool is_open = rank[k] != REACHED;
                // The order of these operations is scipy's, as it decides how the sum is rounded.
                const double through = length + c[k] - u_of_row - v[k];
                const bool is_nearer = is_open && through < distance[k];
                if (is_nearer) before[thread + k * THREADS] = row;
                distance[k] = is_nearer ? through : distance[k];
                const Candidate candidate = {
                    is_open ? order_of(distance[k]) : order_of(infinity()), rank[k], matched_row[k]};
                own = k == 0 ? candidate : first_of(own, candidate);
            }

            // Two sets of places in turn: between a write to one and the next lies a barrier that its readers pass.
            nearest = first_of_block<WARPS>(own, first_of_warps + (step++ % 2) * WARPS, thread);
            // All threads agree on the nearest column, and so on when to leave.
            length = distance_of(nearest.order);
            feasible = nearest.order < order_of(infinity());
            row = nearest.row;
            furthest = max(furthest, nearest.order);
            if (!feasible || row == NONE) break;

            load_costs(row);
            u_of_row = u[row];
            // In scipy's list the last column moves to where the nearest was.
            const int place = place_of_rank(nearest.rank);
            --unreached;
#pragma unroll
            for (int k = 0; k < COLUMNS; ++k) {
                const unsigned moved = rank[k] == rank_at(unreached, base[k]) ? rank_at(place, base[k]) : rank[k];
                rank[k] = rank[k] == nearest.rank ? REACHED : moved;
            }
        }
        if (!feasible) break;
        // Most likely of the next start; behind the last row, of nothing that is searched for.
        loaded = min(start + 1, num_rows - 1);
        load_costs(loaded);

        prices_only_fell &= nearest.order == furthest;
        // The reached columns and their rows get the prices under which the path costs nothing and nothing else less.
        // Their rows are distinct and not the start, which is unmatched: no two threads change the same u.
        if (thread == 0) u[start] = length;
#pragma unroll
        for (int k = 0; k < COLUMNS; ++k) {
            if (rank[k] == REACHED && matched_row[k] != NONE) {
                u[matched_row[k]] += length - distance[k];
                v[k] -= length - distance[k];
            }
        }
        // Nobody reads meanwhile what it writes.
        if (thread == 0) augment(start, column_of_rank(nearest.rank), before, row_of, column_of);
        ++start;
    }

    const bool solved = size_is_valid && feasible && !invalid;
    for (int target = thread; target < most_targets; target += THREADS) {
        const int* query = rows_are_targets ? column_of : row_of;
        query_of[target] = solved && target < num_targets ? query[target] : NONE;
    }
    if (thread == 0) {
        statuses[problem] = !size_is_valid ? INVALID_SIZE : invalid ? INVALID_COST : feasible ? SOLVED : INFEASIBLE;
    }
}
