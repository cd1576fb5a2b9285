// DETR's post-processing in JavaScript, which answers questions in a file:
//
//     detr-spec vectors questions detections.json questions.jsonl
//     node detections.mjs questions.jsonl > answers.jsonl
//     detr-spec judge-answers answers.jsonl --questions questions.jsonl
//
// The two formats are described in docs/recorded-answers.md.

import { readFileSync } from 'node:fs';

/** The numbers of an array; those that are not finite are written as text. */
const numbers = ({ values }) => values.map((value) => (value === 'inf' ? Infinity : value === '-inf' ? -Infinity : Number(value)));

const written = (value) => (Number.isFinite(value) ? value : { Infinity: 'inf', '-Infinity': '-inf', NaN: 'nan' }[value]);

const array = (dtype, shape, values) => ({ dtype, shape, values: values.map(written) });

/** The rows of an array [..., size]. */
function rows(given) {
    const size = given.shape.at(-1);
    const flat = numbers(given);
    return Array.from({ length: flat.length / size }, (_, row) => flat.slice(row * size, (row + 1) * size));
}

function softmax(logits) {
    const highest = Math.max(...logits);
    const exponentials = logits.map((logit) => Math.exp(logit - highest));
    const total = exponentials.reduce((sum, item) => sum + item, 0);
    return exponentials.map((item) => item / total);
}

/** The best class of a query, no object aside, which is last, and its box in pixels. */
function detection(logits, [x, y, w, h], [height, width]) {
    const scores = softmax(logits).slice(0, -1);
    const score = Math.max(...scores);
    const box = [(x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height];
    return { score, label: scores.indexOf(score), box };
}

function postprocess(outputs, sizes) {
    const queries = outputs.logits.shape[1];
    const logits = rows(outputs.logits);
    const boxes = rows(outputs.boxes);
    return rows(sizes).map((size, image) => {
        const places = Array.from({ length: queries }, (_, query) => image * queries + query);
        const found = places.map((place) => detection(logits[place], boxes[place], size));
        return {
            scores: array('float64', [queries], found.map(({ score }) => score)),
            labels: array('int64', [queries], found.map(({ label }) => label)),
            boxes: array('float64', [queries, 4], found.flatMap(({ box }) => box)),
        };
    });
}

function answer({ arguments: given }) {
    try {
        return { value: postprocess(...given), observation: { mutated: [] } };
    } catch (error) {
        return { raised: { type: error.name, text: error.message } };
    }
}

const [, ...questions] = readFileSync(process.argv[2], 'utf8').trim().split('\n').map((line) => JSON.parse(line));
for (const { question, calls } of questions) {
    console.log(JSON.stringify({ question, answers: calls.map(answer) }));
}
