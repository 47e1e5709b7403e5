//! One suite for every executor: whole models, every backend, thread count, batch and cut.

mod tiny;
