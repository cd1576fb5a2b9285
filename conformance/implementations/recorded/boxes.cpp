// Box operations in C++17, which answer questions in a file. JSON is read by nlohmann's header (nlohmann-json3-dev).
//
//     detr-spec vectors questions boxes.json questions.jsonl
//     g++ -std=c++17 -O2 -o boxes boxes.cpp && ./boxes < questions.jsonl > answers.jsonl
//     detr-spec judge-answers answers.jsonl --questions questions.jsonl
//
// The two formats are described in docs/recorded-answers.md. Everything is computed in double, which any dtype's
// allowance includes.

#include <algorithm>
#include <cmath>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

using json = nlohmann::json;
using Box = std::vector<double>;

// ---- arrays: numbers that are not finite are written as text ----

double number(const json& value) { return value.is_string() ? std::stod(value.get<std::string>()) : value.get<double>(); }

json written(double value) {
    if (std::isfinite(value)) return value;
    return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
}

std::vector<Box> boxes_of(const json& array) {
    std::vector<Box> boxes(array["shape"][0].get<size_t>());
    for (size_t place = 0; place < array["values"].size(); place++)
        boxes[place / 4].push_back(number(array["values"][place]));
    return boxes;
}

json array_of(const std::vector<size_t>& shape, const std::vector<double>& numbers) {
    json values = json::array();
    for (double value : numbers) values.push_back(written(value));
    return {{"dtype", "float64"}, {"shape", shape}, {"values", values}};
}

// ---- box operations ----

Box corners(const Box& b) { return {b[0] - b[2] / 2, b[1] - b[3] / 2, b[0] + b[2] / 2, b[1] + b[3] / 2}; }

Box centre(const Box& b) { return {(b[0] + b[2]) / 2, (b[1] + b[3]) / 2, b[2] - b[0], b[3] - b[1]}; }

double area(const Box& b) { return (b[2] - b[0]) * (b[3] - b[1]); }

double overlap(const Box& first, const Box& second, bool generalized) {
    double intersection = 1, enclosing = 1;
    for (int axis = 0; axis < 2; axis++) {
        double low = std::max(first[axis], second[axis]), high = std::min(first[axis + 2], second[axis + 2]);
        intersection *= std::max(0.0, high - low);
        enclosing *= std::max(first[axis + 2], second[axis + 2]) - std::min(first[axis], second[axis]);
    }
    double together = area(first) + area(second) - intersection, iou = intersection / together;
    return generalized ? iou - (enclosing - together) / enclosing : iou;
}

void refuse_broken(const std::vector<Box>& boxes) {
    for (const Box& box : boxes)
        if (!(box[2] >= box[0] && box[3] >= box[1])) throw std::runtime_error("a box has a negative size, or a NaN");
}

json called(const std::string& function, const json& arguments) {
    auto first = boxes_of(arguments[0]);
    std::vector<double> found;
    if (arguments.size() == 1) {
        for (const Box& box : first)
            for (double side : function == "cxcywh_to_xyxy" ? corners(box) : centre(box)) found.push_back(side);
        return array_of({first.size(), 4}, found);
    }
    auto second = boxes_of(arguments[1]);
    bool generalized = function != "iou", pairwise = function != "elementwise_giou";
    if (generalized) refuse_broken(first), refuse_broken(second);
    for (size_t row = 0; row < first.size(); row++)
        for (size_t column = pairwise ? 0 : row; column < (pairwise ? second.size() : row + 1); column++)
            found.push_back(overlap(first[row], second[column], generalized));
    return array_of(pairwise ? std::vector<size_t>{first.size(), second.size()} : std::vector<size_t>{first.size()}, found);
}

json answer(const json& call) {
    try {
        // Functions take their arguments as constants, so that none is changed.
        return {{"value", called(call["function"], call["arguments"])}, {"observation", {{"mutated", json::array()}}}};
    } catch (const std::exception& error) {
        return {{"raised", {{"type", "runtime_error"}, {"text", error.what()}}}};
    }
}

int main() {
    std::string line;
    std::getline(std::cin, line);  // what is asked of whom
    while (std::getline(std::cin, line)) {
        json question = json::parse(line), answers = json::array();
        for (const json& call : question["calls"]) answers.push_back(answer(call));
        std::cout << json{{"question", question["question"]}, {"answers", answers}} << "\n";
    }
}
