// DETR's post-processing and box conversions in JavaScript: a testee.
//
//     detr-spec check "process:node detections.mjs"

import { decode, encode, rows, serve } from './detr_testee.mjs';

const corners = ([x, y, width, height]) => [x - width / 2, y - height / 2, x + width / 2, y + height / 2];

const centres = ([x0, y0, x1, y1]) => [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0];

function softmax(logits) {
    const highest = Math.max(...logits);
    const exponentials = logits.map((logit) => Math.exp(logit - highest));
    const total = exponentials.reduce((sum, item) => sum + item, 0);
    return exponentials.map((item) => item / total);
}

/** The best foreground class of a query, which is not the last, and its box in pixels. */
function detection(logits, box, [height, width]) {
    const scores = softmax(logits).slice(0, -1);
    const score = Math.max(...scores);
    const [x0, y0, x1, y1] = corners(box);
    return { score, label: scores.indexOf(score), box: [x0 * width, y0 * height, x1 * width, y1 * height] };
}

function postprocess(configuration, outputs, sizes) {
    const logits = decode(outputs.logits);
    const boxes = decode(outputs.boxes);
    const [images, queries, columns] = logits.shape;
    const all = { logits: rows({ shape: [images * queries, columns], numbers: logits.numbers }) };
    all.boxes = rows({ shape: [images * queries, 4], numbers: boxes.numbers });
    return rows(decode(sizes)).map((size, image) => {
        const places = Array.from({ length: queries }, (_, query) => image * queries + query);
        const found = places.map((place) => detection(all.logits[place], all.boxes[place], size));
        return {
            scores: encode('float64', [queries], found.map(({ score }) => score)),
            labels: encode('int64', [queries], found.map(({ label }) => label)),
            boxes: encode('float64', [queries, 4], found.flatMap(({ box }) => box)),
        };
    });
}

const converted = (convert) => (configuration, boxes) => {
    const given = decode(boxes);
    return encode('float64', given.shape, rows(given).flatMap(convert));
};

serve(
    { name: 'JavaScript', profile: 'detr' },
    {
        boxes: { cxcywh_to_xyxy: converted(corners), xyxy_to_cxcywh: converted(centres) },
        postprocess: { call: postprocess },
    },
);
