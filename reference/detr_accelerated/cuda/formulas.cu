// The formulas of the dialects for one box, logit or pair, as `boxes.py`, `class_losses.py` and `matcher.py` have them in
// torch, for the kernels in `criterion.cu`, which this file is compiled with.

template <typename Real>
__device__ Real infinity() {
    return Real(__longlong_as_double(0x7ff0000000000000));
}

template <typename Real>
__device__ Real smaller(Real one, Real other) {
    return other < one ? other : one;
}

template <typename Real>
__device__ Real larger(Real one, Real other) {
    return one < other ? other : one;
}

// Boxes -----------------------------------------------------------------------------------------------------------

template <typename Real>
struct Box {
    Real x0, y0, x1, y1;

    __device__ explicit Box(const Real* cxcywh)
        : x0(cxcywh[0] - cxcywh[2] / 2),
          y0(cxcywh[1] - cxcywh[3] / 2),
          x1(cxcywh[0] + cxcywh[2] / 2),
          y1(cxcywh[1] + cxcywh[3] / 2) {}

    __device__ Real area() const { return (x1 - x0) * (y1 - y0); }
};

// The sides of intersection and enclosing box of two boxes, and the areas of these and of the union.
template <typename Real>
struct Overlap {
    Real width, height, enclosing_width, enclosing_height, intersection, united, enclosure;

    __device__ Overlap(const Box<Real>& box, const Box<Real>& target)
        : width(smaller(box.x1, target.x1) - larger(box.x0, target.x0)),
          height(smaller(box.y1, target.y1) - larger(box.y0, target.y0)),
          enclosing_width(larger(box.x1, target.x1) - smaller(box.x0, target.x0)),
          enclosing_height(larger(box.y1, target.y1) - smaller(box.y0, target.y0)),
          intersection(larger(width, Real(0)) * larger(height, Real(0))),
          united(box.area() + target.area() - intersection),
          enclosure(enclosing_width * enclosing_height) {}

    __device__ Real generalized_iou() const { return intersection / united - (enclosure - united) / enclosure; }
};

template <typename Real>
__device__ Real l1_distance(const Real* box, const Real* target) {
    return fabs(box[0] - target[0]) + fabs(box[1] - target[1]) + fabs(box[2] - target[2]) + fabs(box[3] - target[3]);
}

template <typename Real>
__device__ bool is_proper(const Real* box) {
    bool finite = true;
    for (int k = 0; k < 4; ++k) finite &= fabs(box[k]) < infinity<Real>();
    return finite && box[2] >= 0 && box[3] >= 0;
}

// Of the derivative of max(own, other), or of min, what own has: half of it where they are equal, as in torch.
template <typename Real>
__device__ Real share_of_larger(Real own, Real other) {
    return own > other ? Real(1) : own == other ? Real(0.5) : Real(0);
}

// The derivative of max(side, 0); `touching` is that of a side of 0.
template <typename Real>
__device__ Real share_of_cut(Real side, Real touching) {
    return side > 0 ? Real(1) : side == 0 ? touching : Real(0);
}

template <typename Real>
__device__ Real sign(Real value) {
    return Real(value > 0) - Real(value < 0);
}

// Writes l1_share times the gradient of the L1 distance plus giou_share times that of 1 - GIoU, by a box's cxcywh.
template <typename Real>
__device__ void write_box_gradient(
    const Real* box, const Real* target, Real l1_share, Real giou_share, Real touching, Real* gradient) {
    const Box<Real> own(box), other(target);
    const Overlap<Real> areas(own, other);
    // GIoU = I / U + U / E - 1 with U = A + A' - I: of_area is its derivative by A, of_intersection by I, with both U.
    const Real of_area = 1 / areas.enclosure - areas.intersection / areas.united / areas.united;
    const Real of_intersection = 1 / areas.united - of_area;
    const Real of_enclosure = -areas.united / areas.enclosure / areas.enclosure;
    // Sides that do not overlap are cut at 0, and move nothing.
    const Real of_width = share_of_cut(areas.width, touching) * of_intersection * larger(areas.height, Real(0));
    const Real of_height = share_of_cut(areas.height, touching) * of_intersection * larger(areas.width, Real(0));
    const Real of_enclosing_width = of_enclosure * areas.enclosing_height;
    const Real of_enclosing_height = of_enclosure * areas.enclosing_width;
    const Real width = own.x1 - own.x0, height = own.y1 - own.y0;
    const Real x0 = -of_area * height - of_width * share_of_larger(own.x0, other.x0) -
                    of_enclosing_width * share_of_larger(other.x0, own.x0);
    const Real y0 = -of_area * width - of_height * share_of_larger(own.y0, other.y0) -
                    of_enclosing_height * share_of_larger(other.y0, own.y0);
    const Real x1 = of_area * height + of_width * share_of_larger(other.x1, own.x1) +
                    of_enclosing_width * share_of_larger(own.x1, other.x1);
    const Real y1 = of_area * width + of_height * share_of_larger(other.y1, own.y1) +
                    of_enclosing_height * share_of_larger(own.y1, other.y1);
    gradient[0] = l1_share * sign(box[0] - target[0]) - giou_share * (x0 + x1);
    gradient[1] = l1_share * sign(box[1] - target[1]) - giou_share * (y0 + y1);
    gradient[2] = l1_share * sign(box[2] - target[2]) - giou_share * (x1 - x0) / 2;
    gradient[3] = l1_share * sign(box[3] - target[3]) - giou_share * (y1 - y0) / 2;
}

// The sigmoid dialect ---------------------------------------------------------------------------------------------

template <typename Real>
__device__ Real power(Real base, Real exponent) {
    return exponent == 2 ? base * base : pow(base, exponent);
}

template <typename Real>
__device__ Real sigmoid(Real logit) {
    return 1 / (1 + exp(-logit));
}

// log(1 + exp(z)); from 40 on it is z to the last bit of a double.
template <typename Real>
__device__ Real softplus(Real logit) {
    return logit > 40 ? logit : log1p(exp(logit));
}

// p^gamma (-log(1 - p)), the focal loss of a logit that should say no, but for its alpha.
template <typename Real>
__device__ Real saying_no(Real logit, Real gamma) {
    return power(sigmoid(logit), gamma) * softplus(logit);
}

// Its derivative, p^gamma (gamma (1 - p) (-log(1 - p)) + p).
template <typename Real>
__device__ Real slope_of_saying_no(Real logit, Real gamma) {
    const Real p = sigmoid(logit);
    return power(p, gamma) * (gamma * (1 - p) * softplus(logit) + p);
}

template <typename Real>
__device__ Real focal_cost(Real logit, Real alpha, Real gamma, Real epsilon) {
    const Real p = sigmoid(logit);
    const Real cost_of_yes = alpha * power(1 - p, gamma) * -log(p + epsilon);
    const Real cost_of_no = (1 - alpha) * power(p, gamma) * -log(1 - p + epsilon);
    return cost_of_yes - cost_of_no;
}
