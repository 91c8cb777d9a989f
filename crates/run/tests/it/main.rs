//! The executor, over random graphs of scripted steps: whatever fails, is cancelled or crashes, order holds, nothing
//! that succeeded runs twice, and everything is durable before it is told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod executor;
mod scripted;
