// Box conversion and DETR post-processing of transformers.js, which need no model: a testee.
//
//     npm install --ignore-scripts @huggingface/transformers
//     detr-spec check "process:node transformers_js.mjs FOLDER_OF_NODE_MODULES"
//
// It declares what its documentation says: detections above a threshold, of the sizes (height, width). It computes in
// float32 from tensors of its own class.

import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

import { decode, encode, rows, serve } from './detr_testee.mjs';

const main = createRequire(join(resolve(process.argv[2] ?? '.'), 'here.js')).resolve('@huggingface/transformers');
const source = (name) => import(pathToFileURL(join(dirname(main), '..', 'src', name)).href);
const { center_to_corners_format, post_process_object_detection } = await source('image_processors_utils.js');
const { Tensor } = await source('utils/tensor.js');

function tensor(array) {
    const { shape, numbers } = decode(array);
    return new Tensor('float32', Float32Array.from(numbers), shape);
}

function postprocess({ threshold }, outputs, sizes) {
    const given = { logits: tensor(outputs.logits), pred_boxes: tensor(outputs.boxes) };
    return post_process_object_detection(given, threshold, rows(decode(sizes))).map(({ scores, classes, boxes }) => ({
        scores: encode('float64', [scores.length], scores),
        labels: encode('int64', [classes.length], classes),
        boxes: encode('float64', [boxes.length, 4], boxes.flat()),
    }));
}

function corners(configuration, boxes) {
    const given = decode(boxes);
    return encode('float64', given.shape, rows(given).flatMap(center_to_corners_format));
}

serve(
    {
        name: 'transformers.js',
        profile: { name: 'transformers.js', base: 'detr', detection: { threshold: true } },
        limits: { dtypes: ['float32'] },
    },
    { boxes: { cxcywh_to_xyxy: corners }, postprocess: { call: postprocess } },
);
