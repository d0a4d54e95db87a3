//! The HTTP API from a client's side: a server in this process on a free port, asked over real connections.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod cardinality;
mod connections;
mod damage;
mod deletes;
mod door;
mod explain;
mod forms;
mod held;
mod operations;
mod reads;
mod remote_write;
mod retention;
mod server;
mod syntax;
mod writes;
