"""Answers timing requests with ONNX Runtime: one line in, one line out.

    minilm_onnx.py SAFETENSORS FOLDER

    load KIND BATCH THREADS -> ok          KIND: f32, int8
    run                     -> wall cpu    seconds for one pass of BATCH x 128 tokens

Writes MiniLM as an ONNX graph from its weights; int8 comes from the runtime's own dynamic
quantisation. The runtime fuses what it can in both when it loads them.
"""
import logging
import os
import sys
import time

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from safetensors.numpy import load_file

LAYERS, HEADS, WIDTH, TOKENS, EPSILON = 6, 12, 384, 128, 1e-12
logging.disable(logging.WARNING)


class Graph:
    def __init__(self, weights):
        self.weights, self.nodes, self.constants, self.count = weights, [], [], 0

    def constant(self, name, value):
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def op(self, kind, *inputs, **attributes):
        self.count += 1
        name = f"{kind}_{self.count}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def linear(self, x, name):
        weight = self.constant(f"{name}.weight", self.weights[f"{name}.weight"].T)
        bias = self.constant(f"{name}.bias", self.weights[f"{name}.bias"])
        return self.op("Add", self.op("MatMul", x, weight), bias)

    def norm(self, x, name):
        gain = self.constant(f"{name}.weight", self.weights[f"{name}.weight"])
        bias = self.constant(f"{name}.bias", self.weights[f"{name}.bias"])
        return self.op("LayerNormalization", x, gain, bias, axis=-1, epsilon=EPSILON)

    def heads(self, x, order):
        x = self.op("Reshape", x, "split")
        return self.op("Transpose", x, perm=order)

    def gelu(self, x):
        half = self.op("Erf", self.op("Div", x, "root_two"))
        return self.op("Mul", self.op("Mul", x, self.op("Add", half, "one")), "half")

    def layer(self, x, name):
        own = f"{name}.attention.self"
        query = self.heads(self.linear(x, f"{own}.query"), [0, 2, 1, 3])
        key = self.heads(self.linear(x, f"{own}.key"), [0, 2, 3, 1])
        value = self.heads(self.linear(x, f"{own}.value"), [0, 2, 1, 3])
        scores = self.op("Div", self.op("MatMul", query, key), "scale")
        scores = self.op("Softmax", self.op("Add", scores, "mask"), axis=-1)
        mixed = self.op("Transpose", self.op("MatMul", scores, value), perm=[0, 2, 1, 3])
        mixed = self.op("Reshape", mixed, "join")
        out = self.linear(mixed, f"{name}.attention.output.dense")
        x = self.norm(self.op("Add", out, x), f"{name}.attention.output.LayerNorm")
        hidden = self.gelu(self.linear(x, f"{name}.intermediate.dense"))
        out = self.linear(hidden, f"{name}.output.dense")
        return self.norm(self.op("Add", out, x), f"{name}.output.LayerNorm")


def model(weights):
    graph = Graph(weights)
    scalar = lambda name, value: graph.constant(name, np.array(value, np.float32))
    scalar("root_two", 2.0**0.5), scalar("one", 1.0), scalar("half", 0.5)
    scalar("scale", (WIDTH / HEADS) ** 0.5), scalar("lowest", -10000.0)
    graph.constant("split", np.array([0, 0, HEADS, WIDTH // HEADS], np.int64))
    graph.constant("join", np.array([0, 0, WIDTH], np.int64))
    graph.constant("axes", np.array([1, 2], np.int64))
    table = lambda name: graph.constant(name, weights[f"embeddings.{name}.weight"])
    mask = graph.op("Cast", "attention_mask", to=TensorProto.FLOAT)
    mask = graph.op("Unsqueeze", mask, "axes")
    mask = graph.op("Mul", graph.op("Sub", "one", mask), "lowest")
    graph.nodes.append(helper.make_node("Identity", [mask], ["mask"]))
    words = graph.op("Gather", table("word_embeddings"), "input_ids", axis=0)
    positions = graph.constant("positions", weights["embeddings.position_embeddings.weight"][:TOKENS])
    kinds = graph.constant("kinds", weights["embeddings.token_type_embeddings.weight"][0])
    x = graph.op("Add", graph.op("Add", words, positions), kinds)
    x = graph.norm(x, "embeddings.LayerNorm")
    for index in range(LAYERS):
        x = graph.layer(x, f"encoder.layer.{index}")
    graph.nodes.append(helper.make_node("ReduceMean", [x], ["out"], axes=[1], keepdims=0))
    ids = lambda name: helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", TOKENS])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", WIDTH])
    built = helper.make_graph(
        graph.nodes, "minilm", [ids("input_ids"), ids("attention_mask")], [out], graph.constants
    )
    made = helper.make_model(built, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    return made


def prepare(source, folder):
    path = lambda kind: os.path.join(folder, f"minilm_{kind}.onnx")
    weights = {name.removeprefix("bert."): value for name, value in load_file(source).items()}
    onnx.save(model(weights), path("f32"))
    quantize_dynamic(path("f32"), path("int8"), weight_type=QuantType.QInt8)
    return path


def session(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def main():
    path = prepare(sys.argv[1], sys.argv[2])
    print("ready", flush=True)
    loaded, feed = None, None
    for line in sys.stdin:
        words = line.split()
        if words[0] == "load":
            batch = int(words[2])
            loaded = session(path(words[1]), int(words[3]))
            ids = np.array([101] + [2000 + at * 37 % 5000 for at in range(1, TOKENS)], np.int64)
            feed = {"input_ids": np.tile(ids, (batch, 1))}
            feed["attention_mask"] = np.ones_like(feed["input_ids"])
            loaded.run(None, feed)
            print("ok", flush=True)
        else:
            wall, cpu = time.perf_counter(), time.process_time()
            loaded.run(None, feed)
            print(time.perf_counter() - wall, time.process_time() - cpu, flush=True)


main()
