//! A query's turn: it waits for a place among the running queries, is evaluated, and gives the place back.

use std::time::{Duration, Instant};

use axum::response::Response;
use timberline_engine::Held;
use timberline_query::Cancel;

use super::{ApiError, ErrorType};
use crate::http::gate::Place;
use crate::http::stream::{self, Writer};
use crate::state::{AppState, SharedState};

/// A query's turn to be evaluated.
pub(super) struct Turn {
    pub(super) state: SharedState,
    /// Ends the evaluation when the client hangs up or the time is over.
    pub(super) cancel: Cancel,
    /// How long it had to wait.
    pub(super) queued: Duration,
    pub(super) place: Place,
}

impl Turn {
    /// Waits for a place among the running queries. Waiting and evaluation end after `timeout` altogether.
    pub(super) async fn begin(state: SharedState, timeout: Duration) -> Result<Self, ApiError> {
        let arrived = Instant::now();
        let place = enter(&state, timeout).await?;
        let queued = arrived.elapsed();
        let cancel = Cancel::new().with_timeout(timeout.saturating_sub(queued));
        Ok(Self { state, cancel, queued, place })
    }

    /// Answers with what `work` writes on a blocking thread. A client that hangs up ends the work.
    pub(super) async fn answer(
        self,
        content_type: &'static str,
        work: impl FnOnce(Self, &mut Writer) -> Result<(), ApiError> + Send + 'static,
    ) -> Response {
        let _cancel_when_client_leaves = CancelOnDrop(self.cancel.clone());
        let state = SharedState::clone(&self.state);
        stream::respond(content_type, move |writer| {
            work(self, writer).inspect_err(|error| error.count(&state))
        })
        .await
    }
}

async fn enter(state: &SharedState, timeout: Duration) -> Result<Place, ApiError> {
    match tokio::time::timeout(timeout, state.query_gate.enter()).await {
        Ok(Ok(place)) => Ok(place),
        Ok(Err(_)) => {
            let limit = state.config.query_queue_max;
            let message =
                format!("limit query_queue_max reached: {limit} queries are waiting already, try again");
            Err(ApiError::new(ErrorType::Unavailable, message).for_limit("query_queue_max"))
        }
        Err(_) => {
            let message = "query timed out in query queue: past query_timeout or the timeout of the request";
            Err(ApiError::new(ErrorType::Timeout, message).for_limit("query_timeout"))
        }
    }
}

/// Ends the evaluation when the future that awaits it is dropped, as it is when the client hangs up.
struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// What an answer holds while its client reads it.
#[expect(dead_code, reason = "held for their drops")]
pub(super) enum Reading {
    Answer(Held, Place),
    Query(Place),
}

impl Reading {
    /// Gives the query's place to the next one if there is memory to keep this one's answer until its client has read it: else a few
    /// clients that read slowly would keep all others from being answered.
    pub(super) fn begin(state: &AppState, query: Place, answer_bytes: usize) -> Self {
        let mut held = state.answer_budget.hold();
        match (held.grow(answer_bytes), state.answer_gate.try_enter()) {
            (Ok(()), Ok(place)) => Self::Answer(held, place),
            _ => Self::Query(query),
        }
    }
}
