// Match and criterion on CUDA, but for the assignment, which is in `lsap.cu`: the costs, the losses and their gradients
// of all decoder layers, in a launch each. `matcher.py`, `criterion.py` and `class_losses.py` are the same in torch, and
// the place to read the formulas first.
//
// Problem p is layer p / B and image p % B, the last decoder layer first. A block takes TILE queries of one problem, and
// a warp one query after the other, its lanes side by side along the columns of the logits, as they lie in memory. Sums
// of many terms are kept in double and added in one order, so that two calls give the same bits.

constexpr int WARP = 32;
constexpr int THREADS = 256;
constexpr int WARPS = THREADS / WARP;
constexpr int TILE = 32;
constexpr unsigned EVERY_LANE = 0xffffffff;
constexpr int NONE = -1;

constexpr int MOST_LAYERS = 16;
constexpr int MOST_IMAGES = 128;

// The dialects: a softmax over K classes and no-object, C = K + 1, or a sigmoid of each of K classes, C = K.
enum Dialect { SOFTMAX, SIGMOID };

// Where the predictions of L layers and the targets of B images lie. logits: [B, Q, C] of each layer. boxes: [B, Q, 4]
// of each layer, cxcywh. labels: [n] and target_boxes: [n, 4], cxcywh, of each image. sizes: n of each image. longest: T.
template <typename Real>
struct Batch {
    const Real* logits[MOST_LAYERS];
    const Real* boxes[MOST_LAYERS];
    const long long* labels[MOST_IMAGES];
    const Real* target_boxes[MOST_IMAGES];
    int sizes[MOST_IMAGES];
    int images, queries, columns, longest;
};

// What the matching knows of each query, [P, Q]. highest: its highest logit. exponential_sum: the sum of exp(z - highest)
// over its columns, of the softmax alone. favourite: the first column of its highest logit.
template <typename Real>
struct Statistics {
    Real* highest;
    Real* exponential_sum;
    int* favourite;
};

struct CostFormula {
    double cost_class, cost_bbox, cost_giou, alpha, gamma, epsilon;
};

struct LossFormula {
    double eos_coef, alpha, gamma, num_boxes, touching;
};

template <typename Number>
__device__ Number sum_of_warp(Number value) {
#pragma unroll
    for (int offset = WARP / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(EVERY_LANE, value, offset);
    return value;
}

// The column of a target's label; one beyond all columns is read, if nobody refused it, as the nearest.
template <typename Real>
__device__ int column_of_label(const Batch<Real>& batch, int image, int target) {
    const long long label = batch.labels[image][target];
    return static_cast<int>(larger(0LL, smaller(label, batch.columns - 1LL)));
}

// A block of any kernel but `totals`: TILE queries of one problem, from `first` on.
template <typename Real>
struct Tile {
    int problem, layer, image, first, thread, lane, warp;

    __device__ explicit Tile(const Batch<Real>& batch)
        : problem(blockIdx.y),
          layer(problem / batch.images),
          image(problem % batch.images),
          first(blockIdx.x * TILE),
          thread(threadIdx.x),
          lane(thread % WARP),
          warp(thread / WARP) {}

    // The query's place among all of its layer, [B, Q], and among those of all problems, [P, Q].
    __device__ size_t in_layer(const Batch<Real>& batch, int query) const {
        return static_cast<size_t>(image) * batch.queries + query;
    }
    __device__ size_t in_all(const Batch<Real>& batch, int query) const {
        return static_cast<size_t>(problem) * batch.queries + query;
    }
};

// Writes what is known of each query, the cost [P, T, Q] of each target with each query of the same image, and sizes
// [P], n of each problem. unsound, unless null, becomes 1 where a value is not one that set prediction is defined for: a
// logit of NaN or +inf, a box that is not finite or has a negative side, a label outside [0, num_labels), and a cost
// that is not finite. Costs of rows beyond n are not written.
template <typename Real, int DIALECT>
__global__ void __launch_bounds__(THREADS) costs(
    Batch<Real> batch, CostFormula formula, int num_labels, Statistics<Real> found, Real* cost, long long* sizes,
    int* unsound) {
    extern __shared__ __align__(16) double shared_memory[];
    Real* box_of = reinterpret_cast<Real*>(shared_memory);
    Real* highest_of = box_of + 4 * TILE;
    Real* sum_of = highest_of + TILE;

    const Tile<Real> tile(batch);
    const int columns = batch.columns;
    const Real* logits = batch.logits[tile.layer];
    bool sound = true;

    for (int own = tile.warp; own < TILE && tile.first + own < batch.queries; own += WARPS) {
        const int query = tile.first + own;
        const Real* row = logits + tile.in_layer(batch, query) * columns;
        Real highest = -infinity<Real>();
        int favourite = columns;
        for (int column = tile.lane; column < columns; column += WARP) {
            sound &= row[column] < infinity<Real>();
            if (favourite == columns || row[column] > highest) {
                highest = row[column];
                favourite = column;
            }
        }
#pragma unroll
        for (int offset = WARP / 2; offset > 0; offset /= 2) {
            const Real other = __shfl_xor_sync(EVERY_LANE, highest, offset);
            const int others_favourite = __shfl_xor_sync(EVERY_LANE, favourite, offset);
            if (other > highest || (other == highest && others_favourite < favourite)) {
                highest = other;
                favourite = others_favourite;
            }
        }
        Real sum = 0;
        if (DIALECT == SOFTMAX) {
            for (int column = tile.lane; column < columns; column += WARP) sum += exp(row[column] - highest);
            sum = sum_of_warp(sum);
        }
        if (tile.lane == 0) {
            const size_t place = tile.in_all(batch, query);
            found.highest[place] = highest;
            found.favourite[place] = favourite;
            highest_of[own] = highest;
            if (DIALECT == SOFTMAX) found.exponential_sum[place] = sum_of[own] = sum;
            const Real* box = batch.boxes[tile.layer] + tile.in_layer(batch, query) * 4;
            sound &= is_proper(box);
            for (int k = 0; k < 4; ++k) box_of[4 * own + k] = box[k];
        }
    }
    __syncthreads();

    const int size = batch.sizes[tile.image];
    for (int pair = tile.thread; pair < size * TILE; pair += THREADS) {
        // The queries change fastest, as the costs lie in memory.
        const int own = pair % TILE, target = pair / TILE, query = tile.first + own;
        if (query >= batch.queries) continue;
        const Real* target_box = batch.target_boxes[tile.image] + 4 * target;
        const long long label = batch.labels[tile.image][target];
        const Real logit =
            logits[tile.in_layer(batch, query) * columns + column_of_label(batch, tile.image, target)];
        const Overlap<Real> areas(Box<Real>(box_of + 4 * own), Box<Real>(target_box));
        const Real of_class =
            DIALECT == SOFTMAX
                ? -exp(logit - highest_of[own]) / sum_of[own]
                : focal_cost(logit, Real(formula.alpha), Real(formula.gamma), Real(formula.epsilon));
        const Real total = Real(formula.cost_bbox) * l1_distance(box_of + 4 * own, target_box) -
                           Real(formula.cost_giou) * areas.generalized_iou() + Real(formula.cost_class) * of_class;
        sound &= label >= 0 && label < num_labels && is_proper(target_box) && fabs(total) < infinity<Real>();
        cost[(static_cast<size_t>(tile.problem) * batch.longest + target) * batch.queries + query] = total;
    }

    const bool any = __syncthreads_or(!sound);
    if (tile.thread == 0) {
        // Other blocks may write it, too.
        if (unsound != nullptr && any) atomicExch(unsound, 1);
        if (tile.first == 0) sizes[tile.problem] = size;
    }
}

// The target of each query of a tile, or NONE, in shared memory. query_of: [T], the query of each target, or -1.
__device__ void find_targets(const long long* query_of, int size, int first, int* target_of) {
    if (threadIdx.x < TILE) target_of[threadIdx.x] = NONE;
    __syncthreads();
    for (int target = threadIdx.x; target < size; target += THREADS) {
        const long long own = query_of[target] - first;
        if (own >= 0 && own < TILE) target_of[own] = target;
    }
    __syncthreads();
}

// Of a tile, an image or a layer; class_weight is the sum of the queries' weights, and of the softmax alone.
enum Sum { CLASS_LOSS, CLASS_WEIGHT, L1_LOSS, GIOU_LOSS, DETECTED, MATCHED, CORRECT, SUMS };

// Writes the sums, [P, tiles, SUMS], over the queries of each tile. query_of_target: [P, T], or -1.
template <typename Real, int DIALECT>
__global__ void __launch_bounds__(THREADS) losses(
    Batch<Real> batch, LossFormula formula, Statistics<Real> known, const long long* query_of_target, double* sums) {
    extern __shared__ __align__(16) double shared_memory[];
    double* sums_of_warps = shared_memory;
    int* target_of = reinterpret_cast<int*>(sums_of_warps + WARPS * SUMS);

    const Tile<Real> tile(batch);
    const int columns = batch.columns, size = batch.sizes[tile.image];
    find_targets(
        query_of_target + static_cast<size_t>(tile.problem) * batch.longest, size, tile.first, target_of);

    double own_sums[SUMS] = {};
    if (DIALECT == SIGMOID) {
        const Real alpha = formula.alpha, gamma = formula.gamma;
        for (int own = tile.warp; own < TILE && tile.first + own < batch.queries; own += WARPS) {
            const Real* row = batch.logits[tile.layer] + tile.in_layer(batch, tile.first + own) * columns;
            const int yes = target_of[own] == NONE ? NONE : column_of_label(batch, tile.image, target_of[own]);
            for (int column = tile.lane; column < columns; column += WARP) {
                own_sums[CLASS_LOSS] += column == yes ? alpha * saying_no(-row[column], gamma)
                                                      : (1 - alpha) * saying_no(row[column], gamma);
            }
        }
    }
    // The rest takes one thread for each query.
    const int query = tile.first + tile.thread;
    if (tile.thread < TILE && query < batch.queries) {
        const int target = target_of[tile.thread];
        const size_t place = tile.in_all(batch, query), place_in_layer = tile.in_layer(batch, query);
        const int yes = target == NONE ? columns - 1 : column_of_label(batch, tile.image, target);
        const int favourite = known.favourite[place];
        if (DIALECT == SOFTMAX) {
            const Real weight = target == NONE ? Real(formula.eos_coef) : Real(1);
            const Real logit = batch.logits[tile.layer][place_in_layer * columns + yes];
            own_sums[CLASS_LOSS] += weight * (log(known.exponential_sum[place]) - (logit - known.highest[place]));
            own_sums[CLASS_WEIGHT] += weight;
            own_sums[DETECTED] += favourite < columns - 1;
        } else {
            own_sums[DETECTED] += known.highest[place] > 0;
        }
        if (target != NONE) {
            const Real* box = batch.boxes[tile.layer] + place_in_layer * 4;
            const Real* target_box = batch.target_boxes[tile.image] + 4 * target;
            own_sums[L1_LOSS] += l1_distance(box, target_box);
            own_sums[GIOU_LOSS] += 1 - Overlap<Real>(Box<Real>(box), Box<Real>(target_box)).generalized_iou();
            own_sums[MATCHED] += 1;
            own_sums[CORRECT] += favourite == yes;
        }
    }

    for (int sum = 0; sum < SUMS; ++sum) {
        const double of_warp = sum_of_warp(own_sums[sum]);
        if (tile.lane == 0) sums_of_warps[tile.warp * SUMS + sum] = of_warp;
    }
    __syncthreads();
    if (tile.thread < SUMS) {
        double of_tile = 0;
        for (int warp = 0; warp < WARPS; ++warp) of_tile += sums_of_warps[warp * SUMS + tile.thread];
        sums[(static_cast<size_t>(tile.problem) * gridDim.x + blockIdx.x) * SUMS + tile.thread] = of_tile;
    }
}

// Where the numbers of each layer go, and that of the last decoder layer's class error.
template <typename Real>
struct Losses {
    Real* class_loss[MOST_LAYERS];
    Real* l1_loss[MOST_LAYERS];
    Real* giou_loss[MOST_LAYERS];
    Real* cardinality_error[MOST_LAYERS];
    Real* class_error;
};

// A block of MOST_IMAGES threads for each layer, a thread for each image: the losses from the sums of their tiles.
// class_divisors: [L], what the classification loss was divided by.
template <typename Real, int DIALECT>
__global__ void __launch_bounds__(MOST_IMAGES) totals(
    Batch<Real> batch, LossFormula formula, int tiles, const double* sums, Losses<Real> found, double* class_divisors) {
    extern __shared__ __align__(16) double shared_memory[];
    const int layer = blockIdx.x, image = threadIdx.x;
    double of_image[SUMS] = {};
    if (image < batch.images) {
        const double* own = sums + (static_cast<size_t>(layer) * batch.images + image) * tiles * SUMS;
        for (int tile = 0; tile < tiles; ++tile) {
            for (int sum = 0; sum < SUMS; ++sum) of_image[sum] += own[tile * SUMS + sum];
        }
        of_image[DETECTED] = fabs(of_image[DETECTED] - batch.sizes[image]);
    }
    for (int sum = 0; sum < SUMS; ++sum) {
        const double of_warp = sum_of_warp(of_image[sum]);
        if (image % WARP == 0) shared_memory[image / WARP * SUMS + sum] = of_warp;
    }
    __syncthreads();
    if (image != 0) return;
    double of_layer[SUMS] = {};
    for (int warp = 0; warp < MOST_IMAGES / WARP; ++warp) {
        for (int sum = 0; sum < SUMS; ++sum) of_layer[sum] += shared_memory[warp * SUMS + sum];
    }
    class_divisors[layer] = DIALECT == SOFTMAX ? of_layer[CLASS_WEIGHT] : formula.num_boxes;
    *found.class_loss[layer] = Real(of_layer[CLASS_LOSS] / class_divisors[layer]);
    *found.l1_loss[layer] = Real(of_layer[L1_LOSS] / formula.num_boxes);
    *found.giou_loss[layer] = Real(of_layer[GIOU_LOSS] / formula.num_boxes);
    *found.cardinality_error[layer] = Real(of_layer[DETECTED] / batch.images);
    if (layer == 0) *found.class_error = Real(100 - 100 * of_layer[CORRECT] / larger(of_layer[MATCHED], 1.0));
}

// Where the gradient of what is trained on lies, for each loss of each layer; null is 0.
template <typename Real>
struct LossGradients {
    const Real* class_loss[MOST_LAYERS];
    const Real* l1_loss[MOST_LAYERS];
    const Real* giou_loss[MOST_LAYERS];
};

template <typename Real>
__device__ Real value_at(const Real* place) {
    return place == nullptr ? Real(0) : *place;
}

// Writes the gradients of all logits, [L, B, Q, C], and of all boxes, [L, B, Q, 4].
template <typename Real, int DIALECT>
__global__ void __launch_bounds__(THREADS) gradients(
    Batch<Real> batch, LossFormula formula, Statistics<Real> known, const long long* query_of_target,
    const double* class_divisors, LossGradients<Real> given, Real* of_logits, Real* of_boxes) {
    extern __shared__ __align__(16) double shared_memory[];
    int* target_of = reinterpret_cast<int*>(shared_memory);

    const Tile<Real> tile(batch);
    const int columns = batch.columns, size = batch.sizes[tile.image];
    find_targets(
        query_of_target + static_cast<size_t>(tile.problem) * batch.longest, size, tile.first, target_of);

    const Real class_share = Real(value_at(given.class_loss[tile.layer]) / class_divisors[tile.layer]);
    const Real l1_share = Real(value_at(given.l1_loss[tile.layer]) / formula.num_boxes);
    const Real giou_share = Real(value_at(given.giou_loss[tile.layer]) / formula.num_boxes);
    for (int own = tile.warp; own < TILE && tile.first + own < batch.queries; own += WARPS) {
        const int query = tile.first + own, target = target_of[own];
        const size_t place = tile.in_all(batch, query);
        const Real* row = batch.logits[tile.layer] + tile.in_layer(batch, query) * columns;
        Real* gradient = of_logits + place * columns;
        const int yes = target == NONE ? NONE : column_of_label(batch, tile.image, target);
        if (DIALECT == SOFTMAX) {
            // (softmax(z) - one_hot(class)) times the query's share in the weighted mean.
            const Real share = class_share * (target == NONE ? Real(formula.eos_coef) : Real(1));
            const Real highest = known.highest[place], scale = share / known.exponential_sum[place];
            const int of_class = target == NONE ? columns - 1 : yes;
            for (int column = tile.lane; column < columns; column += WARP) {
                gradient[column] = exp(row[column] - highest) * scale - (column == of_class ? share : Real(0));
            }
        } else {
            const Real yes_share = Real(formula.alpha) * class_share, no_share = Real(1 - formula.alpha) * class_share;
            const Real gamma = formula.gamma;
            for (int column = tile.lane; column < columns; column += WARP) {
                gradient[column] = column == yes ? -yes_share * slope_of_saying_no(-row[column], gamma)
                                                 : no_share * slope_of_saying_no(row[column], gamma);
            }
        }
    }

    const int query = tile.first + tile.thread;
    if (tile.thread < TILE && query < batch.queries) {
        const int target = target_of[tile.thread];
        Real of_box[4] = {};
        if (target != NONE) {
            const Real* box = batch.boxes[tile.layer] + tile.in_layer(batch, query) * 4;
            const Real* target_box = batch.target_boxes[tile.image] + 4 * target;
            write_box_gradient(box, target_box, l1_share, giou_share, Real(formula.touching), of_box);
        }
        for (int k = 0; k < 4; ++k) of_boxes[tile.in_all(batch, query) * 4 + k] = of_box[k];
    }
}
