//! One suite for every executor: whole models, every backend, thread count, batch and cut.

mod exporters;
mod graph;
mod import;
mod llama;
mod onnx;
mod onnx_decoder;
mod onnx_hostile;
mod onnx_twists;
mod products;
mod random;
mod rerun;
mod store;
mod support;
mod tiny;
mod vectors;
mod write;
