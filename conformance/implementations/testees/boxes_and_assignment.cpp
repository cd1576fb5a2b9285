// Box operations and a solver of the assignment problem in C++17, with nothing but its standard library: a testee.
//
//     g++ -std=c++17 -O2 -o testee boxes_and_assignment.cpp && detr-spec check process:./testee
//
// The messages are described in docs/testee.md. Everything is computed in double, which any dtype's allowance includes.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

// ---- JSON ----

struct Json {
    enum Kind { null, boolean, number, text, list, object } kind = null;
    double value = 0;
    std::string string;
    std::vector<Json> items;
    std::map<std::string, Json> fields;

    const Json& operator[](const std::string& name) const {
        auto found = fields.find(name);
        if (found == fields.end()) throw std::runtime_error("a message lacks the field " + name);
        return found->second;
    }
};

class Reader {
  public:
    explicit Reader(const std::string& given) : text(given) {}

    Json read() {
        Json value = any();
        skip();
        if (place != text.size()) fail();
        return value;
    }

  private:
    const std::string& text;
    size_t place = 0;

    [[noreturn]] void fail() const { throw std::runtime_error("no JSON at byte " + std::to_string(place)); }

    void skip() {
        while (place < text.size() && std::strchr(" \t\r\n", text[place])) place++;
    }

    char next() {
        skip();
        if (place == text.size()) fail();
        return text[place];
    }

    void expect(char sign) {
        if (next() != sign) fail();
        place++;
    }

    bool found(const char* word) {
        if (text.compare(place, std::strlen(word), word)) return false;
        place += std::strlen(word);
        return true;
    }

    Json any() {
        Json value;
        char sign = next();
        if (sign == '{' || sign == '[') return nested(sign);
        if (sign == '"') {
            value.kind = Json::text;
            value.string = string();
        } else if (found("true") || found("false")) {
            value.kind = Json::boolean;
            value.value = text[place - 2] == 'u';
        } else if (!found("null")) {
            size_t length = 0;
            try {
                value.value = std::stod(text.substr(place, 40), &length);
            } catch (const std::exception&) {
                fail();
            }
            value.kind = Json::number;
            place += length;
        }
        return value;
    }

    Json nested(char opening) {
        Json value;
        bool object = opening == '{';
        value.kind = object ? Json::object : Json::list;
        char closing = object ? '}' : ']';
        place++;
        while (next() != closing) {
            if (object) {
                std::string name = (next(), string());
                expect(':');
                value.fields[name] = any();
            } else {
                value.items.push_back(any());
            }
            if (next() != closing) expect(',');
        }
        place++;
        return value;
    }

    std::string string() {
        std::string found;
        expect('"');
        while (place < text.size() && text[place] != '"') {
            if (text[place] == '\\') {
                // What a testee has to understand is written in ASCII without escapes.
                if (++place == text.size() || text[place] == 'u') fail();
            }
            found += text[place++];
        }
        expect('"');
        return found;
    }
};

std::string quoted(const std::string& text) {
    std::string found = "\"";
    for (char sign : text) {
        if (sign == '"' || sign == '\\') found += '\\';
        found += sign < ' ' ? ' ' : sign;
    }
    return found + '"';
}

// ---- arrays ----

struct Array {
    std::vector<size_t> shape;
    std::vector<double> numbers;
};

const std::string DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::string from_base64(const std::string& text) {
    std::string bytes;
    uint32_t bits = 0;
    int count = 0;
    for (char sign : text) {
        if (sign == '=') break;
        size_t digit = DIGITS.find(sign);
        if (digit == std::string::npos) throw std::runtime_error("no base64");
        bits = bits << 6 | static_cast<uint32_t>(digit);
        if ((count += 6) >= 8) bytes += static_cast<char>(bits >> (count -= 8) & 0xFF);
    }
    return bytes;
}

std::string to_base64(const std::string& bytes) {
    std::string text;
    for (size_t place = 0; place < bytes.size(); place += 3) {
        uint32_t bits = 0;
        for (size_t offset = 0; offset < 3; offset++)
            bits = bits << 8 | (place + offset < bytes.size() ? static_cast<unsigned char>(bytes[place + offset]) : 0);
        for (size_t digit = 0; digit < 4; digit++)
            text += place + digit > bytes.size() ? '=' : DIGITS[bits >> (18 - 6 * digit) & 63];
    }
    return text;
}

Array read_array(const Json& given) {
    Array array;
    if (given["dtype"].string != "float64") throw std::runtime_error("expected numbers of dtype float64");
    size_t count = 1;
    for (const Json& size : given["shape"].items) {
        array.shape.push_back(static_cast<size_t>(size.value));
        count *= array.shape.back();
    }
    std::string bytes = from_base64(given["data"].string);
    if (bytes.size() != 8 * count) throw std::runtime_error("an array has a wrong length");
    array.numbers.resize(count);
    // Of the little-endian machines that this is for, doubles are as they are in messages.
    if (count) std::memcpy(array.numbers.data(), bytes.data(), bytes.size());
    return array;
}

template <typename Number>
std::string written(const char* dtype, const std::vector<size_t>& shape, const std::vector<Number>& numbers) {
    std::string sizes, bytes(reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(Number));
    for (size_t size : shape) sizes += (sizes.empty() ? "" : ",") + std::to_string(size);
    return std::string("{\"dtype\":\"") + dtype + "\",\"shape\":[" + sizes + "],\"data\":\"" + to_base64(bytes) + "\"}";
}

std::string written(const Array& array) { return written("float64", array.shape, array.numbers); }

// ---- box operations ----

const double* row(const Array& boxes, size_t place) { return boxes.numbers.data() + 4 * place; }

Array converted(const Array& boxes, bool to_corners) {
    Array found{boxes.shape, {}};
    for (size_t place = 0; place < boxes.shape[0]; place++) {
        const double* box = row(boxes, place);
        double first[2], second[2];
        for (int axis = 0; axis < 2; axis++) {
            first[axis] = to_corners ? box[axis] - box[axis + 2] / 2 : (box[axis] + box[axis + 2]) / 2;
            second[axis] = to_corners ? box[axis] + box[axis + 2] / 2 : box[axis + 2] - box[axis];
        }
        found.numbers.insert(found.numbers.end(), {first[0], first[1], second[0], second[1]});
    }
    return found;
}

double area(const double* box) { return (box[2] - box[0]) * (box[3] - box[1]); }

double overlap(const double* first, const double* second, bool generalized) {
    double intersection = 1, enclosing = 1;
    for (int axis = 0; axis < 2; axis++) {
        double low = std::max(first[axis], second[axis]), high = std::min(first[axis + 2], second[axis + 2]);
        intersection *= std::max(0.0, high - low);
        enclosing *= std::max(first[axis + 2], second[axis + 2]) - std::min(first[axis], second[axis]);
    }
    double together = area(first) + area(second) - intersection;
    double iou = intersection / together;
    return generalized ? iou - (enclosing - together) / enclosing : iou;
}

void refuse_broken(const Array& boxes) {
    for (size_t place = 0; place < boxes.shape[0]; place++) {
        const double* box = row(boxes, place);
        if (!(box[2] >= box[0] && box[3] >= box[1])) throw std::runtime_error("a box has a negative size, or a NaN");
    }
}

Array overlaps(const Array& first, const Array& second, bool generalized, bool pairwise) {
    if (generalized) refuse_broken(first), refuse_broken(second);
    size_t rows = first.shape[0], columns = pairwise ? second.shape[0] : 1;
    Array found{pairwise ? std::vector<size_t>{rows, columns} : std::vector<size_t>{rows}, {}};
    for (size_t one = 0; one < rows; one++)
        for (size_t other = 0; other < columns; other++)
            found.numbers.push_back(overlap(row(first, one), row(second, pairwise ? other : one), generalized));
    return found;
}

// ---- the assignment problem: shortest augmenting paths with dual prices ----

using Pairs = std::pair<std::vector<int64_t>, std::vector<int64_t>>;

const double FORBIDDEN = std::numeric_limits<double>::infinity();

// The column of each row, for at least as many columns as rows; cost(row, column) is finite or FORBIDDEN.
template <typename Cost>
std::vector<size_t> columns_of_rows(size_t rows, size_t columns, Cost cost) {
    const size_t none = columns;
    std::vector<double> row_price(rows, 0), column_price(columns, 0);
    std::vector<size_t> row_of(columns, rows), column_of(rows, none);
    for (size_t start = 0; start < rows; start++) {
        std::vector<double> distance(columns, FORBIDDEN);
        std::vector<size_t> before(columns, rows);
        std::vector<bool> done(columns, false);
        size_t current = start, last = none;
        double reached = 0;
        while (last == none) {
            size_t nearest = none;
            for (size_t column = 0; column < columns; column++) {
                if (done[column]) continue;
                double there = reached + cost(current, column) - row_price[current] - column_price[column];
                if (there < distance[column]) distance[column] = there, before[column] = current;
                if (distance[column] < (nearest == none ? FORBIDDEN : distance[nearest])) nearest = column;
            }
            if (nearest == none) throw std::runtime_error("no finite assignment is left");
            reached = distance[nearest];
            done[nearest] = true;
            if (row_of[nearest] == rows) last = nearest;
            else current = row_of[nearest];
        }
        row_price[start] += reached;
        for (size_t column = 0; column < columns; column++) {
            if (!done[column]) continue;
            if (row_of[column] != rows) row_price[row_of[column]] += reached - distance[column];
            column_price[column] -= reached - distance[column];
        }
        for (size_t column = last; column != none;) {
            size_t taken = before[column], next = column_of[taken];
            column_of[taken] = column;
            row_of[column] = taken;
            column = taken == start ? none : next;
        }
    }
    return column_of;
}

Pairs solve(const Array& costs) {
    size_t rows = costs.shape[0], columns = costs.shape[1];
    for (double cost : costs.numbers)
        if (std::isnan(cost) || cost == -FORBIDDEN) throw std::runtime_error("a cost is NaN or -inf");
    Pairs pairs;
    if (rows <= columns) {
        auto found = columns_of_rows(rows, columns, [&](size_t r, size_t c) { return costs.numbers[r * columns + c]; });
        for (size_t one = 0; one < rows; one++) pairs.first.push_back(one), pairs.second.push_back(found[one]);
    } else {
        auto found = columns_of_rows(columns, rows, [&](size_t c, size_t r) { return costs.numbers[r * columns + c]; });
        for (size_t one = 0; one < columns; one++) pairs.first.push_back(found[one]), pairs.second.push_back(one);
    }
    return pairs;
}

std::string written(const Pairs& pairs) {
    std::vector<size_t> shape{pairs.first.size()};
    return "{\"queries\":" + written("int64", shape, pairs.first) + ",\"targets\":" +
           written("int64", shape, pairs.second) + "}";
}

// ---- requests ----

const char* HELLO =
    "\"message\":\"hello\",\"protocol\":1,\"implementations\":[{\"name\":\"C++\",\"profile\":\"detr\","
    "\"components\":[\"boxes\",\"assignment\"]}]";

std::string answer(const Json& request) {
    const auto& given = request["arguments"].items;
    const std::string& name = request["function"].string;
    std::vector<Array> arrays;
    for (const Json& item : given)
        if (item.kind == Json::object) arrays.push_back(read_array(item));
    if (name == "cxcywh_to_xyxy" || name == "xyxy_to_cxcywh")
        return written(converted(arrays.at(0), name == "cxcywh_to_xyxy"));
    if (name == "iou" || name == "giou" || name == "elementwise_giou")
        return written(overlaps(arrays.at(0), arrays.at(1), name != "iou", name != "elementwise_giou"));
    if (name == "solve") return written(solve(arrays.at(0)));
    if (name != "solve_batch") throw std::runtime_error("no function is called " + name);
    std::string list;
    for (const Json& cost : given.at(0).items) list += (list.empty() ? "" : ",") + written(solve(read_array(cost)));
    return "[" + list + "]";
}

std::string reply(const Json& request) {
    const std::string& message = request["message"].string;
    if (message == "hello") return HELLO;
    if (message == "begin") return "\"message\":\"ready\"";
    if (message == "build" && request["component"].string == "boxes")
        return "\"message\":\"built\",\"functions\":"
               "[\"cxcywh_to_xyxy\",\"xyxy_to_cxcywh\",\"iou\",\"giou\",\"elementwise_giou\"]";
    if (message == "build") return "\"message\":\"built\",\"functions\":[\"solve\",\"solve_batch\"]";
    // Functions take their arguments as constants, so that none is changed.
    return "\"message\":\"answer\",\"observation\":{\"mutated\":[]},\"value\":" + answer(request);
}

bool receive(std::string& text) {
    unsigned char head[4];
    if (std::fread(head, 1, 4, stdin) != 4) return false;
    text.resize(static_cast<size_t>(head[0]) << 24 | head[1] << 16 | head[2] << 8 | head[3]);
    return std::fread(&text[0], 1, text.size(), stdin) == text.size();
}

void send(const std::string& text) {
    size_t length = text.size();
    for (int shift = 24; shift >= 0; shift -= 8) std::putchar(static_cast<int>(length >> shift & 0xFF));
    std::fwrite(text.data(), 1, length, stdout);
    std::fflush(stdout);
}

int main() {
    for (std::string text; receive(text);) {
        Json request = Reader(text).read();
        std::string id = ",\"id\":" + std::to_string(static_cast<long long>(request["id"].value)) + "}";
        try {
            send("{" + reply(request) + id);
        } catch (const std::exception& error) {
            send("{\"message\":\"raised\",\"type\":\"runtime_error\",\"text\":" + quoted(error.what()) + id);
        }
    }
}
