//! The model crate from outside: what is refused, what is pinned, what certificates promise.

mod certificates;
mod commitments;
mod constraints;
mod field;
mod files;
mod gate;
mod hostile;
mod odd_graphs;
mod step_compositions;
mod step_sizes;
mod steps;
mod support;
mod vectors;
