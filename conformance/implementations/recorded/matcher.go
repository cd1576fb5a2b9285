// DETR's matcher in Go, which answers questions in a file:
//
//	detr-spec vectors questions matcher.json questions.jsonl
//	go run matcher.go < questions.jsonl > answers.jsonl
//	detr-spec judge-answers answers.jsonl --questions questions.jsonl
//
// The two formats are described in docs/recorded-answers.md. Everything is computed in float64, which any dtype's
// allowance includes.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
)

type number float64

// A number that is not finite is written as text.
func (n *number) UnmarshalJSON(text []byte) error {
	switch string(text) {
	case `"inf"`:
		*n = number(math.Inf(1))
	case `"-inf"`:
		*n = number(math.Inf(-1))
	default:
		if text[0] == '"' {
			*n = number(math.NaN())
			return nil
		}
		return json.Unmarshal(text, (*float64)(n))
	}
	return nil
}

type array struct {
	Shape  []int
	Values []number
}

func (a array) row(place int) []number {
	size := a.Shape[len(a.Shape)-1]
	return a.Values[place*size : (place+1)*size]
}

type outputs struct{ Logits, Boxes array }

type target struct{ Labels, Boxes array }

type configuration struct {
	Dtype       string
	NumClasses  int       `json:"num_classes"`
	CostWeights []float64 `json:"cost_weights"`
}

type question struct {
	Question string
	Builds   []configuration
	Calls    []struct {
		Built     int
		Arguments []json.RawMessage
	}
}

type object = map[string]any

func indices(values []int) object {
	return object{"dtype": "int64", "shape": []int{len(values)}, "values": values}
}

func area(box []float64) float64 { return (box[2] - box[0]) * (box[3] - box[1]) }

func corners(b []number) []float64 {
	x, y, w, h := float64(b[0]), float64(b[1]), float64(b[2]), float64(b[3])
	return []float64{x - w/2, y - h/2, x + w/2, y + h/2}
}

func giou(first, second []number) float64 {
	one, other := corners(first), corners(second)
	intersection, enclosing := 1.0, 1.0
	for axis := 0; axis < 2; axis++ {
		intersection *= math.Max(0, math.Min(one[axis+2], other[axis+2])-math.Max(one[axis], other[axis]))
		enclosing *= math.Max(one[axis+2], other[axis+2]) - math.Min(one[axis], other[axis])
	}
	together := area(one) + area(other) - intersection
	return intersection/together - (enclosing-together)/enclosing
}

func probability(logits []number, label int) float64 {
	highest, total := math.Inf(-1), 0.0
	for _, logit := range logits {
		highest = math.Max(highest, float64(logit))
	}
	for _, logit := range logits {
		total += math.Exp(float64(logit) - highest)
	}
	return math.Exp(float64(logits[label])-highest) / total
}

func cost(weights []float64, logits, box []number, label int, wanted []number) float64 {
	l1 := 0.0
	for side := range box {
		l1 += math.Abs(float64(box[side] - wanted[side]))
	}
	return -weights[0]*probability(logits, label) + weights[1]*l1 - weights[2]*giou(box, wanted)
}

// The column of each row of costs, at least as many columns as rows: shortest augmenting paths with dual prices.
func assigned(rows, columns int, cost func(row, column int) float64) []int {
	rowPrice, columnPrice := make([]float64, rows), make([]float64, columns+1)
	rowOf, before := make([]int, columns+1), make([]int, columns+1) // the last column stands for the row that begins
	for column := range rowOf {
		rowOf[column] = -1
	}
	for start := 0; start < rows; start++ {
		last, distance, done := columns, make([]float64, columns), make([]bool, columns+1)
		for column := range distance {
			distance[column] = math.Inf(1)
		}
		for rowOf[columns] = start; rowOf[last] != -1; {
			done[last] = true
			row, nearest, step := rowOf[last], -1, math.Inf(1)
			for column := 0; column < columns; column++ {
				if done[column] {
					continue
				}
				if there := cost(row, column) - rowPrice[row] - columnPrice[column]; there < distance[column] {
					distance[column], before[column] = there, last
				}
				if distance[column] < step {
					nearest, step = column, distance[column]
				}
			}
			for column := range done {
				if done[column] {
					rowPrice[rowOf[column]] += step
					columnPrice[column] -= step
				} else {
					distance[column] -= step
				}
			}
			last = nearest
		}
		for last != columns {
			rowOf[last] = rowOf[before[last]]
			last = before[last]
		}
	}
	found := make([]int, rows)
	for column := 0; column < columns; column++ {
		if rowOf[column] != -1 {
			found[rowOf[column]] = column
		}
	}
	return found
}

func matched(weights []float64, predicted outputs, image int, wanted target) object {
	queries, targets := predicted.Logits.Shape[1], wanted.Labels.Shape[0]
	pair := func(query, index int) float64 {
		place := image*queries + query
		label := int(wanted.Labels.Values[index])
		return cost(weights, predicted.Logits.row(place), predicted.Boxes.row(place), label, wanted.Boxes.row(index))
	}
	found := map[int]int{} // the target of each matched query
	if targets <= queries {
		for index, query := range assigned(targets, queries, func(i, q int) float64 { return pair(q, i) }) {
			found[query] = index
		}
	} else {
		for query, index := range assigned(queries, targets, pair) {
			found[query] = index
		}
	}
	first, second := []int{}, []int{}
	for query := 0; query < queries; query++ {
		if index, matched := found[query]; matched {
			first, second = append(first, query), append(second, index)
		}
	}
	return object{"queries": indices(first), "targets": indices(second)}
}

func refuse(built configuration, predicted outputs, targets []target) {
	if built.Dtype != "float32" && built.Dtype != "float64" {
		panic("costs need float32 or float64")
	}
	if built.CostWeights[0] == 0 && built.CostWeights[1] == 0 && built.CostWeights[2] == 0 {
		panic("all weights are zero")
	}
	if len(targets) != predicted.Logits.Shape[0] {
		panic("there is another number of targets than of images")
	}
	for _, logit := range predicted.Logits.Values {
		if !(logit < number(math.Inf(1))) {
			panic("a logit is NaN or infinite; minus infinity alone has a probability")
		}
	}
	for _, side := range predicted.Boxes.Values {
		if math.IsNaN(float64(side)) || math.IsInf(float64(side), 0) {
			panic("a box is not finite")
		}
	}
	for _, wanted := range targets {
		for _, label := range wanted.Labels.Values {
			if label < 0 || int(label) >= built.NumClasses {
				panic("a label is out of range")
			}
		}
	}
}

func answer(built configuration, arguments []json.RawMessage) (said object) {
	defer func() {
		if reason := recover(); reason != nil {
			said = object{"raised": object{"type": "panic", "text": fmt.Sprint(reason)}}
		}
	}()
	var predicted outputs
	var targets []target
	if json.Unmarshal(arguments[0], &predicted) != nil || json.Unmarshal(arguments[1], &targets) != nil {
		panic("outputs and targets cannot be read")
	}
	refuse(built, predicted, targets)
	matchings := []object{}
	for image, wanted := range targets {
		matchings = append(matchings, matched(built.CostWeights, predicted, image, wanted))
	}
	return object{"value": matchings, "observation": object{"mutated": []string{}}}
}

func main() {
	lines, out := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	lines.Buffer(nil, 1<<26)
	lines.Scan() // what is asked of whom
	for lines.Scan() {
		var asked question
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			panic(err)
		}
		answers := []object{}
		for _, call := range asked.Calls {
			answers = append(answers, answer(asked.Builds[call.Built], call.Arguments))
		}
		if err := out.Encode(object{"question": asked.Question, "answers": answers}); err != nil {
			panic(err)
		}
	}
}
