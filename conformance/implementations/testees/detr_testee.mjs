// The messages of docs/testee.md for testees in JavaScript on Node, with nothing but Node itself.

import { readSync, writeSync } from 'node:fs';

const LONGEST = 64 * 1024 * 1024;

const VIEWS = {
    float64: Float64Array,
    float32: Float32Array,
    int64: BigInt64Array,
    bool: Uint8Array,
};

/** What a JSON array { dtype, shape, data } holds: { shape, numbers }, int64 as ordinary numbers. */
export function decode({ dtype, shape, data }) {
    const bytes = Uint8Array.from(Buffer.from(data, 'base64'));
    return { shape, numbers: Array.from(new VIEWS[dtype](bytes.buffer), Number) };
}

/** Numbers as a JSON array of a shape. */
export function encode(dtype, shape, numbers) {
    const view = VIEWS[dtype].from(numbers, dtype === 'int64' ? BigInt : Number);
    return { dtype, shape, data: Buffer.from(view.buffer).toString('base64') };
}

/** The rows of an array [n, m]. */
export function rows({ shape: [count, size], numbers }) {
    return Array.from({ length: count }, (_, row) => numbers.slice(row * size, (row + 1) * size));
}

function read(count) {
    const bytes = Buffer.alloc(count);
    for (let place = 0; place < count; ) {
        let got = 0;
        try {
            got = readSync(0, bytes, place, count - place);
        } catch (error) {
            if (error.code === 'EAGAIN') continue;
            if (error.code !== 'EOF') throw error;
        }
        if (got === 0) return null;
        place += got;
    }
    return bytes;
}

function send(message) {
    const text = Buffer.from(JSON.stringify(message));
    const bytes = Buffer.alloc(4 + text.length);
    bytes.writeUInt32BE(text.length);
    text.copy(bytes, 4);
    for (let place = 0; place < bytes.length; ) place += writeSync(1, bytes, place);
}

/**
 * Answers requests until they end. description: name, profile and limits. components: by name, for each function
 * (configuration, ...arguments) → the answer's value, all as JSON.
 */
export function serve(description, components) {
    const built = new Map();
    const answers = {
        hello: () => ({
            message: 'hello',
            protocol: 1,
            implementations: [{ ...description, components: Object.keys(components) }],
        }),
        begin: () => ({ message: 'ready' }),
        build: ({ id, component, configuration }) => {
            built.set(id, { component, configuration });
            return { message: 'built', functions: Object.keys(components[component]) };
        },
        call: (request) => {
            const { component, configuration } = built.get(request.built);
            const value = components[component][request.function](configuration, ...request.arguments);
            return { message: 'answer', value };
        },
    };
    // What a program prints belongs to standard error, as standard output is for messages.
    console.log = console.info = console.debug = console.error;
    for (let head = read(4); head !== null; head = read(4)) {
        const length = head.readUInt32BE();
        if (length > LONGEST) throw new Error(`a message has ${length} bytes; expected at most ${LONGEST}`);
        const request = JSON.parse(read(length).toString());
        if (request.message === 'begin') built.clear();
        try {
            send({ ...answers[request.message](request), id: request.id });
        } catch (error) {
            send({ message: 'raised', type: error.name, text: String(error.message), id: request.id });
        }
    }
}
