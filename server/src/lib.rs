//! The Timberline server as a library: what the binary runs, and what tests start in their own process.
//!
//! | module | what |
//! |---|---|
//! | [`cli`] | the command line |
//! | [`config`] | settings: flags, environment, file |
//! | [`server`] | opens the database, listens, stops |
//! | [`net`] | connections and their limits |
//! | [`http`] | routes and handlers |
//! | [`ingest`] | line protocol, remote write, JSON lines: bytes in, rows out |
//! | [`metrics`] | what the server counts |
//! | [`refusals`] | what was refused, counted and told in the log |
//! | [`demo`] | a collector of this machine's numbers |

pub mod cli;
pub mod config;
pub mod demo;
pub mod http;
pub mod ingest;
pub mod metrics;
pub mod net;
pub mod refusals;
pub mod server;
pub mod state;
