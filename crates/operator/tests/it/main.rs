//! A box between a real chain, real links and real engines; the gateway's end is scripted.

mod audits;
mod caps;
mod disputes;
mod hostile;
mod life;
mod money;
mod tasks;
mod world;
