//! HTTP: a JSON API, health for load balancers, metrics for Prometheus.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod door;
mod failure;
mod guard;
mod routes;
mod runs;
mod sql;

pub use door::HttpDoor;
